"""`python -m atrous.recipes COMMAND`: experiments at full scale."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from atrous.recipes import evaluate, memory, predict, show, train, weights

ENDED = 130  # what a shell gives for a command that Ctrl-C has ended


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
    try:
        given.run(given)
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError) as e:
        sys.stderr.write(f"{type(e).__name__}: {e}\n")
        return 1
    except KeyboardInterrupt as e:
        sys.stderr.write(f"ended {str(e) or 'by Ctrl-C'}\n")
        return ENDED
    return 0


if __name__ == "__main__":
    sys.exit(main())
