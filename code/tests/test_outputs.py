"""The checker of the chapters' outputs notices what it must, and no more."""

import base64
import importlib.util
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(f"_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load(ROOT / "chapters/conftest.py")
execute = load(ROOT / "code/tools/execute.py")


@pytest.mark.parametrize(
    ("stored", "new", "agree"),
    [
        ("loss 0.4321", "loss 0.4322", True),  # last digit
        ("loss 0.4321", "loss 0.4333", False),
        ("loss 4.32100", "loss 4.32400", True),  # rtol
        ("loss 0.3", "loss 0.4", True),
        ("loss -0.4321", "loss 0.4321", False),
        ("loss 1.0", "loss 1", False),
        ("1.2345e-05", "1.2346e-05", True),
        ("1.2345e-05", "1.2345e-06", False),
        ("1e-05", "3e-05", False),
        ("a=0.512, b=(0.25,0.75)", "a=0.513, b=(0.25,0.76)", True),
        ("12.51%", "12.52%", True),
        ("12.5ms", "99.5ms", False),
        ("0.25-0.75", "0.25-0.85", False),
        ("1.5+2.25j", "1.5+2.26j", True),
        ("134,260,544", "134,260,545", False),
        ("100000", "100001", False),
        ("in 100000.", "in 100001.", False),
        ("torch 2.13.0", "torch 2.14.0", False),
        ("conv1.0", "conv1.1", False),
        ("nan inf", "nan inf", True),
        ("0.5 nan", "0.5 0.5", False),
        ("0.5 inf", "0.5 -inf", False),
        ("mean", "mode", False),
        ("[ 0.001 -9.999 ]", "[-0.000 -10.000 ]", True),
        ("a   0.999  b", "a 1.000 b", True),
        ("a  0.1156\nb  0.011", "a  0.1156 \nb  0.011  ", True),
        ("a b", "ab", False),
        ("a 1\nb 2", "a 1 b 2", False),
        ("a\nb", "a", False),
        ("a", "a\n\n", False),
        ("\x1b[31m0.512\x1b[0m", "0.513", True),
    ],
)
def test_text(stored, new, agree):
    assert (not checker.text_difference(stored, new)) is agree


@pytest.mark.parametrize(
    ("stored", "new", "agree"),
    [("0.430", "0.459", True), ("0.430", "0.461", False), ("43", "44", False)],
)
def test_atol(stored, new, agree):
    difference = checker.text_difference(stored, new, atol=0.03)
    assert (not difference) is agree


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def picture():
    generator = np.random.default_rng(0)
    return generator.integers(2, 250, (100, 203, 3), dtype=np.uint8)


def test_picture():
    base = picture()
    spot, dot = base.copy(), base.copy()
    spot[96:, 200:] = 255 - spot[96:, 200:]
    dot[50, 50] ^= 64
    opaque = np.dstack([base, np.full(base.shape[:2], 255, np.uint8)])
    for new in (base, base + np.uint8(1), dot, opaque):
        assert not checker.picture_difference(encode(base), encode(new))
    for new in (base + np.uint8(2), spot, base[::-1], base[:, 1:]):
        assert checker.picture_difference(encode(base), encode(new))
    assert "(200, 96)" in checker.picture_difference(
        encode(base), encode(spot)
    )


def test_transparent_is_white():
    clear = np.zeros((9, 9, 4), np.uint8)
    white = np.full((9, 9, 3), 255, np.uint8)
    assert not checker.picture_difference(encode(clear), encode(white))


TEXT = """\
print("mean   of    1234567 losses")
print("is", 0.4321)"""

CURVES = """\
import matplotlib.pyplot as plt
import numpy as np
x = np.linspace(0, 10, 200)
fig, ax = plt.subplots(figsize=(10, 6))
for k, colour in enumerate(["C0", "C1", "C2", "C3", "C4"]):
    offset = 0.0 if k == 2 else 0.0
    ax.plot(x, np.sin(x * (1 + 0.3 * k)) + offset, color=colour)
ax.set(ylim=(-1.2, 1.2), xticks=[0, 5, 10], xticklabels=["1", "5", "8"])
plt.show()"""

IMAGE = """\
import matplotlib.pyplot as plt
import numpy as np
plt.imshow(np.arange(12).reshape(3, 4))
plt.show()"""


def source(old, new):
    def mutate(cell):
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return mutate


def text(old, new):
    def mutate(cell):
        assert old in cell.outputs[0].text
        cell.outputs[0].text = cell.outputs[0].text.replace(old, new)

    return mutate


def metadata(*mutations, **entries):
    def mutate(cell):
        cell.metadata.update(entries)
        for mutation in mutations:
            mutation(cell)

    return mutate


def output(kind, **content):
    def mutate(cell):
        cell.outputs.append(new_output(kind, **content))

    return mutate


def repaint(change):
    def mutate(cell):
        data = cell.outputs[0].data
        file = io.BytesIO(base64.b64decode(data["image/png"]))
        pixels = np.asarray(change(Image.open(file).convert("RGB")))
        data["image/png"] = encode(pixels)

    return mutate


def nothing(cell):
    pass


def unrun(cell):
    cell.execution_count = None
    cell.outputs = []


def clear(cell):
    cell.outputs = []


def split(cell):
    stream = cell.outputs[0]
    first, second = stream.text[:9], stream.text[9:]
    stream.text = first
    output("stream", name="stdout", text=second)(cell)


def darken(image):
    return image.point(lambda value: max(value - 1, 0))


RAISE = 'raise ValueError("rate 0 is below 1")'
ERROR = {"ename": "ValueError", "evalue": "no", "traceback": []}
LINES = "stored\n"  # the head of a comparison line by line
PIXELS = "the picture differs by"
KINDS = "the outputs were"

# name: source, what is done to the stored cell, what the failure says
CASES = {
    "text": {
        "unchanged": (TEXT, nothing, ""),
        "split stream": (TEXT, split, ""),
        "blanks": (TEXT, text("mean   of", "mean of"), ""),
        "decimal within": (TEXT, text("0.4321", "0.4322"), ""),
        "decimal beyond": (TEXT, text("0.4321", "0.4331"), LINES),
        "integer": (TEXT, text("1234567", "1234568"), LINES),
        "word": (TEXT, text("losses", "scores"), LINES),
        "missing line": (TEXT, text("\nis 0.4321", ""), LINES),
        "cleared": (TEXT, clear, KINDS),
        "never run": (TEXT, unrun, "was never run"),
        "atol": (
            TEXT,
            metadata(text("0.4321", "0.46"), nbval={"atol": 0.03}),
            "",
        ),
        "atol beyond": (
            TEXT,
            metadata(text("0.4321", "0.48"), nbval={"atol": 0.03}),
            LINES,
        ),
        "atol and integer": (
            TEXT,
            metadata(text("1234567", "1234568"), nbval={"atol": 2}),
            LINES,
        ),
        "atol a word": (TEXT, metadata(nbval={"atol": "0.03"}), "'0.03'"),
        "atol negative": (TEXT, metadata(nbval={"atol": -1}), "atol: -1"),
        "unknown key": (TEXT, metadata(nbval={"rtol": 0.1}), "rtol: 0.1"),
        "no mapping": (TEXT, metadata(nbval=0.1), "0.1 is not a mapping"),
        "new warning": (
            TEXT,
            source("print", 'import warnings; warnings.warn("late")\nprint'),
            "UserWarning: late",
        ),
        "new C stderr": (
            TEXT,
            source(  # the kernel reads its pipe in a thread: give it time
                "print",
                "import os, time; "
                'os.write(2, b"from C\\n"); time.sleep(1)\nprint',
            ),
            "from C",
        ),
        "stored stderr": (
            "import sys",
            metadata(
                source("sys", 'sys; print("early", file=sys.stderr)'),
                output("stream", name="stderr", text="early\n"),
            ),
            "a stored stderr",
        ),
        "stored error": (TEXT, output("error", **ERROR), "a stored error"),
        "new error": (TEXT, source("mean", 'mean" 1 "'), "SyntaxError"),
        "ignore comment": (
            TEXT,
            source('print("is', '# NBVAL_IGNORE_OUTPUT\nprint("is'),
            "marker NBVAL_IGNORE_OUTPUT",
        ),
        "skip comment": (
            TEXT,
            source('print("is', '# NBVAL_SKIP\nprint("is'),
            "marker NBVAL_SKIP",
        ),
        "ignore tag": (
            TEXT,
            metadata(tags=["nbval-ignore-output"]),
            "marker nbval-ignore-output",
        ),
        "skip tag": (TEXT, metadata(tags=["nbval-skip"]), "marker nbval-skip"),
        "raises": (RAISE, nothing, ""),
        "raises otherwise": (RAISE, source("0 is", "1 is"), LINES),
        "raises no more": (RAISE, source("raise ", ""), KINDS),
        "svg": (
            TEXT,
            output("display_data", data={"image/svg+xml": "<svg/>"}),
            "a stored image/svg+xml",
        ),
        "cell after these": (TEXT, nothing, ""),
    },
    "pictures": {
        "curves": (CURVES, nothing, ""),
        "image": (IMAGE, nothing, ""),
        "rounding": (CURVES, repaint(darken), ""),
        "flipped": (CURVES, repaint(ImageOps.mirror), PIXELS),
        "flipped image": (IMAGE, repaint(ImageOps.mirror), PIXELS),
        "deleted": (CURVES, clear, KINDS),
        "recoloured": (
            CURVES,
            source('["C0", "C1"', '["C1", "C0"'),
            PIXELS,
        ),
        "another map": (
            IMAGE,
            source("4))", '4), cmap="magma")'),
            PIXELS,
        ),
        "shifted by 5 %": (CURVES, source("0.0 if", "0.12 if"), PIXELS),
        "shifted, rms": (
            CURVES,
            metadata(source("0.0 if", "0.12 if"), nbval={"rms": 0.1}),
            "",
        ),
        "flipped, rms": (
            CURVES,
            metadata(repaint(ImageOps.mirror), nbval={"rms": 0.1}),
            PIXELS,
        ),
        "tick label": (CURVES, source('"8"', '"6"'), PIXELS),
        "size": (CURVES, source("(10, 6)", "(10, 5)"), "the picture was"),
    },
}


def pytest_nbval(folder, *options):
    shutil.copy(ROOT / "chapters/conftest.py", folder)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml"),
            *("--rootdir", folder, "-p", "no:cacheprovider", "--color=no"),
            *("--nbval", "--nbval-current-env", *options, folder),
        ],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Name of each case to what its failure says; and what pytest prints."""
    folder = tmp_path_factory.mktemp("mutated")
    for name, cases in CASES.items():
        cells = []
        for code, _, _ in cases.values():
            tags = ["raises-exception"] if code == RAISE else []
            cells.append(new_code_cell(code, metadata={"tags": tags}))
        notebook = new_notebook(cells=cells)
        execute.run(notebook, folder)
        for cell, (_, mutate, _) in zip(cells, cases.values(), strict=True):
            mutate(cell)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    report = folder / "report.xml"
    xdist = ["-n", "2", "--dist", "loadfile"]
    done = pytest_nbval(folder, *xdist, f"--junitxml={report}")
    found = {
        (test.get("classname"), test.get("name")): "".join(
            child.text or "" for child in test if child.tag != "properties"
        )
        for test in ET.parse(report).iter("testcase")
    }
    return {
        case: found[f"{name}.ipynb", f"Cell {number}"]
        for name, cases in CASES.items()
        for number, case in enumerate(cases)
    } | {"pytest": done.stdout}


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (case, says)
        for cases in CASES.values()
        for case, (_, _, says) in cases.items()
    ],
)
def test_mutation(outcomes, case, says):
    if says:
        assert says in outcomes[case]
    else:
        assert not outcomes[case]


def test_costs(outcomes):
    for name in CASES:
        line = rf"{name}\.ipynb: \d+\.\d of 120 s, \d\.\d\d of 4 GiB\n"
        assert re.search(line, outcomes["pytest"])
    assert not checker.Cost(seconds=119, gib=3.9).is_over()
    assert checker.Cost(seconds=121).is_over()
    assert checker.Cost(gib=4.1).is_over()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_this_process():
    kernel = SimpleNamespace(pid=os.getpid())
    assert 0.05 < checker.Chapter.peak_gib(kernel) < 4
    kernel.pid = 2**30
    assert math.isnan(checker.Chapter.peak_gib(kernel))


def test_costs_are_stored_if_they_were_measured(tmp_path, monkeypatch):
    path, cost = tmp_path / "costs.json", checker.Cost(9.4, 0.52)
    monkeypatch.setattr(checker, "device", lambda: ("CPU", "a machine"))
    monkeypatch.setattr(checker, "costs", {"chapters/a.ipynb": cost})
    checker.store(path)
    monkeypatch.setattr(checker, "costs", {"chapters/b.ipynb": cost})
    checker.store(path)
    measured = {"seconds": 9, "gib": 0.5, "machine": "a machine"}
    assert json.loads(path.read_text()) == {
        "CPU": {"a": measured, "b": measured}
    }
    unknown = checker.Cost(seconds=9, gib=math.nan)
    monkeypatch.setattr(checker, "costs", {"chapters/a.ipynb": unknown})
    before = path.read_text()
    with pytest.raises(OSError, match="memory"):
        checker.store(path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("book", "status", "says"),
    [
        ({}, 0, "of 120 s"),
        ({"budget_seconds": 0.01}, 1, "OVER BUDGET"),
        ({"budget": 200}, 2, "metadata budget: 200"),
    ],
)
def test_budget(tmp_path, book, status, says):
    cell = new_code_cell("1", execution_count=1)
    data = {"text/plain": "1"}
    cell.outputs = [new_output("execute_result", data, execution_count=1)]
    notebook = new_notebook(cells=[cell], metadata={"book": book})
    nbformat.write(notebook, tmp_path / "a.ipynb")
    done = pytest_nbval(tmp_path)
    assert done.returncode == status
    assert says in done.stdout


CHAPTER = """\
---
jupytext:
  text_representation: {{extension: .md, format_name: myst}}
kernelspec: {{display_name: any, language: python, name: any}}
---
# A chapter

```{{code-cell}} ipython3
{}
```
"""


def test_execute_is_reproducible(tmp_path):
    code = "import os\nos.environ['TQDM_DISABLE']"
    (tmp_path / "a.md").write_text(CHAPTER.format(code))
    (tmp_path / "README.md").write_text("# No notebook\n")
    assert execute.chapters(tmp_path) == ["a"]
    execute.execute("a", tmp_path)
    first = (tmp_path / "a.ipynb").read_bytes()
    execute.execute("a", tmp_path)
    assert (tmp_path / "a.ipynb").read_bytes() == first
    cells = nbformat.read(tmp_path / "a.ipynb", as_version=4).cells
    assert [cell.id for cell in cells] == ["cell-001", "cell-002"]
    assert cells[1].outputs[0].data["text/plain"] == "'1'"


@pytest.mark.parametrize(
    "code", ["1 / 0", "import warnings\nwarnings.warn('ZeroDivisionError')"]
)
def test_execute_stores_no_fault(tmp_path, code):
    (tmp_path / "a.md").write_text(CHAPTER.format(code))
    (tmp_path / "a.ipynb").write_text("old")
    with pytest.raises(RuntimeError, match=r"cell-002: [^$]*ZeroDivision"):
        execute.execute("a", tmp_path)
    assert (tmp_path / "a.ipynb").read_text() == "old"
