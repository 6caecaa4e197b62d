"""An end that somebody asks for: Ctrl-C, torchrun, a batch system."""

import signal
import threading

SIGNALS = signal.SIGINT, signal.SIGTERM


class Asked:
    """Notes the first SIGINT or SIGTERM while it lasts, as a context.

    Nothing is cut off, so that the step can be finished and its state saved.
    The second one ends the process at once, as it ever did.

    Attributes:
        by: Name of the signal; None as long as there was none.
    """

    def __enter__(self):
        self.by, self._before = None, {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        self._restore()

    def _note(self, number, frame):
        self.by = signal.Signals(number).name
        self._restore()

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def leave_to_parent(worker: int) -> None:
    """Let a process that reads pictures ignore what asks for an end.

    A terminal tells all processes at once; the one that trains still needs
    what this one reads, and ends it when it has finished.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
