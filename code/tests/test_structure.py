"""Rules of the package's layout, read from its syntax trees."""

import ast
import code as standard_library_code
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

CODE = Path(__file__).parents[1]
PACKAGE = CODE / "atrous"
# Folders and files of the package. Each imports from those before it only.
FLOORS = (
    "arithmetic",
    "ops",
    "datasets",
    "experiments",
    "crf",
    "gridding",
    "layers",
    "backbones",
    "large_kernels",
    "convert",
    "edges",
    "segmentation",
    "sequences",
    "volumes",
    "zoo",
    "recipes",
)
FILES = {
    path.relative_to(PACKAGE)
    .with_suffix("")
    .as_posix()
    .replace("/", "."): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "__init__"
}


def imported(module):
    """Modules of the package, and top-level packages, that it imports."""
    own, others = set(), set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [node.module]
            if node.module.removeprefix("atrous.") not in FILES:
                names = [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            own.add(rest) if top == "atrous" else others.add(top)
    return own, others


def test_every_folder_has_its_floor():
    assert {name.partition(".")[0] for name in FILES} == set(FLOORS)


def test_the_readme_lists_the_floors_from_the_top():
    readme = (CODE.parent / "README.md").read_text()
    table = readme.partition("| `code/atrous/` | holds |")[2].partition(
        "\n\n"
    )[0]
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", table, re.M)
    assert rows == [*reversed(FLOORS)]


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module):
    floor = FLOORS.index(module.partition(".")[0])
    own, _ = imported(module)
    assert own <= set(FILES)
    for name in own:
        assert FLOORS.index(name.partition(".")[0]) <= floor, name


def test_no_imports_go_in_a_circle():
    graph = {module: imported(module)[0] for module in FILES}
    assert len([*TopologicalSorter(graph).static_order()]) == len(FILES)


def test_arithmetic_needs_nothing_installed():
    for module in ("arithmetic", "gridding.hybrid_rates"):
        others = imported(module)[1]
        assert others <= {
            "numbers",
            "collections",
            "dataclasses",
            "itertools",
            "operator",
        }, module


def test_a_name_tells_which_file_to_open():
    stems = [path.stem for path in FILES.values()]
    assert len(stems) == len(set(stems))
    for path in PACKAGE.rglob("__init__.py"):
        assert len(ast.parse(path.read_text()).body) == 1  # its docstring


@pytest.mark.parametrize("module", FILES)
def test_modules_are_short_and_silent(module):
    text = FILES[module].read_text()
    assert text.count("\n") <= 400, "does it hold two concerns?"
    calls = [
        node.func
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
    ]
    names = {f.id for f in calls if isinstance(f, ast.Name)}
    assert "print" not in names
    # reproducible() puts the seed back; a process that trains is its own.
    if module not in ("experiments.training", "recipes.processes"):
        # Of the process; Generator().manual_seed() moves nobody else's.
        seeded = {
            f.attr
            for f in calls
            if isinstance(f, ast.Attribute)
            and not isinstance(f.value, ast.Call)
        }
        assert "manual_seed" not in seeded


def test_tests_lie_in_the_folders_of_what_they_test():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for path in (CODE / "tests").rglob("test_*.py"):
        folder = path.parent.name
        assert folder in {"tests", "book", "browser", *folders}, path
        if folder in folders:
            files = path.read_text()
            assert f"atrous.{folder}" in files or "zoo" in files, path


def test_the_folder_code_does_not_replace_the_standard_librarys():
    assert not (CODE / "__init__.py").exists()
    assert hasattr(standard_library_code, "InteractiveConsole")
