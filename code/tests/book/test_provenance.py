"""Tasks and seeds are followed from cell to cell."""

import inspect

import pytest

from atrous.experiments import tasks
from provenance import NOWHERE, TASKS, Origin, Tracer

RUN = "def run(seed):\n    return tasks.shapes(8, size=seed)"


def origin(*sources):
    tracer = Tracer()
    return [tracer.read(source) for source in sources][-1]


def of(task, *seeds):
    return Origin(frozenset({task}), frozenset(seeds))


def test_the_tasks_are_those_of_the_package():
    public = {
        name
        for name, value in inspect.getmembers(tasks, inspect.isfunction)
        if value.__module__ == tasks.__name__ and not name.startswith("_")
    }
    assert public == TASKS | {"stream"}


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        ("range(5)", 5),
        ("SEEDS", 4),
        ("SEEDS[:3]", 3),
        ("range(2 * len(SEEDS))", 8),
        ("(1, 2)", 2),
    ],
)
def test_seeds_are_counted(given, seeds):
    cells = (RUN, "SEEDS, STEPS = range(4), 9", f"over_seeds(run, {given})")
    assert origin(*cells) == of("shapes", seeds)


def test_a_loop_over_seeds_counts():
    assert origin(RUN, "[run(seed) for seed in range(3)]") == of("shapes", 3)
    loop = "rows = []\nfor seed in range(3):\n    rows.append(run(seed))\nrows"
    assert origin(RUN, loop) == of("shapes", 3)
    assert not origin(RUN, "for name in range(3):\n    run(1)").seeds


def test_names_carry_it_on():
    results = "results = statistics.over_seeds(run, range(5))"
    helper = "def gain(name):\n    return compare(results[name], 0)"
    table = "rows = [gain(name) for name in ('a', 'b')]\nTable(['x'], rows)"
    assert origin(RUN, results, helper, table) == of("shapes", 5)
    # Not so a name that is given another meaning, or that a loop left.
    assert origin(RUN, results, "results = 1", helper, table) == NOWHERE
    loop = "for row in over_seeds(run, range(5)):\n    pass"
    assert origin(RUN, loop, "[row for row in 'ab']") == NOWHERE
    assert origin(RUN, loop, "print(row)") == NOWHERE
    assert origin(RUN, "import plt\nplt.bar(run(1))", "plt.show()") == NOWHERE


def test_what_is_no_python_has_no_origin():
    assert origin("%matplotlib inline") == NOWHERE
    assert not origin("unknown = f()\nover_seeds(run, unknown)").seeds
