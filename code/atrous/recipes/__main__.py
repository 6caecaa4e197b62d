"""`python -m atrous.recipes COMMAND`: experiments at full scale."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from atrous.recipes import evaluate, memory, predict, show, train, weights

ENDED = 130  # what a shell gives for a command that Ctrl-C has ended
# Errors whose words say what is wrong and what to do.
NAMED = ValueError, TypeError, OSError, ImportError, ArithmeticError


class Command(NamedTuple):
    """A command: what it says of itself, takes and does."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


COMMANDS = {
    "list": Command(show.LIST_HELP, lambda parser: None, show.names),
    "show": Command(show.HELP, show.arguments, show.run),
    "train": Command(train.HELP, train.arguments, train.run),
    "evaluate": Command(evaluate.HELP, evaluate.arguments, evaluate.run),
    "predict": Command(predict.HELP, predict.arguments, predict.run),
    "memory": Command(memory.HELP, memory.arguments, memory.run),
    "weights": Command(weights.HELP, weights.arguments, weights.run),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 1 if it failed for a reason that has a name.

    Gives 130 if somebody has ended it.

    Args:
        words: The command and what it takes; the process's own if None.
    """
    parser = argparse.ArgumentParser(
        prog="python -m atrous.recipes", description=__doc__
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.help)
        command.arguments(own)
        own.set_defaults(run=command.run)
    given = parser.parse_args(words)
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            given.run(given)
            sys.stdout.flush()
        except BrokenPipeError:  # as of `list | head`, which has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except NAMED as error:
            _say(f"{type(error).__name__}: {error}")
            return 1
        except torch.OutOfMemoryError as error:
            _say(f"{error}; --per-device takes fewer pictures at once")
            return 1
        except KeyboardInterrupt as error:
            _say(f"ended {str(error) or 'by Ctrl-C'}")
            return ENDED
    return 0


def _warn(message: Warning | str, *place, **more) -> None:
    """A warning without the line of code that gives it."""
    _say(f"warning: {message}")


def _say(text: str) -> None:
    """Write one line to the error output."""
    sys.stderr.write("; ".join(text.splitlines()) + "\n")


if __name__ == "__main__":
    sys.exit(main())
