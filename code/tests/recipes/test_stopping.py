"""Who asks for an end is heard once, and obeyed the second time."""

import os
import signal
import threading

import pytest

from atrous.recipes.stopping import SIGNALS, Asked


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_handlers_come_back(number):
    before = [signal.getsignal(n) for n in SIGNALS]
    with Asked() as asked:
        assert asked.by is None
        os.kill(os.getpid(), number)
        assert asked.by == signal.Signals(number).name
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_the_second_ctrl_c_ends():
    with Asked() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert asked.by == "SIGINT"


def test_other_threads_hear_nothing_and_do_not_fail():
    heard = []

    def ask():
        with Asked() as asked:
            heard.append(asked.by)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert heard == [None]
