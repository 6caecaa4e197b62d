"""Rules of the package's layout, read from its syntax trees."""

import ast
import code as standard_library_code
from pathlib import Path

import pytest

CODE = Path(__file__).parents[1]
PACKAGE = CODE / "atrous"
# Imports go strictly downwards.
LAYERS = (
    {
        "arithmetic",
        "conventions",
        "photographs",
        "scores",
        "simplices",
        "sparse",
    },
    {
        "data",
        "edge_losses",
        "edge_matching",
        "enhancement",
        "folders",
        "hdc",
        "lattice",
        "plans",
        "pooling",
        "probes",
        "residual",
        "spp",
        "statistics",
        "taps",
        "thinning",
        "tracing",
        "training",
        "upsampling",
    },
    {
        "aspp",
        "bilateral",
        "context",
        "crf",
        "edge_folders",
        "edge_scores",
        "gridding",
        "mobilenet",
        "resnet",
        "rules",
        "smoothing",
        "vgg",
        "xception",
    },
    {
        "deeplab",
        "dilationnet",
        "drn",
        "edges",
        "espnet",
        "fcn",
        "operators",
        "surgery",
    },
    {
        "c3",
        "checkpoints",
        "decoders",
        "deeplabv3",
        "duc",
        "refinement",
        "tkcn",
        "weights",
    },
    {"deeplabv3plus", "liteseg", "refinenet"},
    {"zoo"},
)
FOR_CHAPTERS = {"figures", "tables"}
MODULES = sorted(
    path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"
)


def layer(module):
    found = [i for i, names in enumerate(LAYERS) if module in names]
    assert len(found) == 1, f"{module}: give it one place in LAYERS"
    return found[0]


def imported(module):
    """Modules of the package, and top-level packages, that it imports."""
    own, others = set(), set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [node.module]
            if node.module == "atrous":
                names = [f"atrous.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            own.add(rest) if top == "atrous" else others.add(top)
    return own, others


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_lower_layers(module):
    own, _ = imported(module)
    assert not own & FOR_CHAPTERS
    if module not in FOR_CHAPTERS:
        assert all(layer(name) < layer(module) for name in own)


def test_arithmetic_needs_nothing_installed():
    others = imported("arithmetic")[1] | imported("hdc")[1]
    assert others <= {"collections", "dataclasses", "itertools", "operator"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short_and_silent(module):
    text = (PACKAGE / f"{module}.py").read_text()
    assert text.count("\n") <= 260, "does it hold two concerns?"
    calls = [
        node.func
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
    ]
    names = {f.id for f in calls if isinstance(f, ast.Name)}
    assert "print" not in names
    if module != "training":  # reproducible() seeds and puts back
        attributes = {f.attr for f in calls if isinstance(f, ast.Attribute)}
        assert "manual_seed" not in attributes


def test_the_package_reexports_nothing():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert len(tree.body) == 1  # its docstring


def test_the_folder_code_does_not_replace_the_standard_librarys():
    assert not (CODE / "__init__.py").exists()
    assert hasattr(standard_library_code, "InteractiveConsole")
