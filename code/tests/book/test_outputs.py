"""The checker of the chapters' outputs notices what it must, and no more."""

import base64
import importlib.util
import io
import json
import math
import re
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

import comparing
import execute
import spread
from atrous.experiments.renderings import MIME
from comparing import Allowed

ROOT = Path(__file__).resolve().parents[3]


def load(path):
    spec = importlib.util.spec_from_file_location(f"_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load(ROOT / "chapters/conftest.py")


@pytest.mark.parametrize(
    ("stored", "new", "agree"),
    [
        ("loss 0.4321", "loss 0.4322", True),  # last digit
        ("loss 0.4321", "loss 0.4333", False),
        ("loss 4.32100", "loss 4.32102", False),  # 5 in a million
        ("65.50", "65.55", False),  # within 0.1 %, and published
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
    found = comparing.compare_texts(stored, new, Allowed())
    assert (not found.says) is agree


@pytest.mark.parametrize(
    ("stored", "new", "needs"),
    [
        ("0.430", "0.431", 0),
        ("0.430", "0.459", 0.029),
        ("0.430 -1.250", "0.461 -1.200", 0.05),
        ("43", "44", math.inf),
        ("gain 0.430", "loss 0.430", math.inf),
        ("0.4\n0.5", "0.4", math.inf),
    ],
)
def test_the_tolerance_that_is_needed(stored, new, needs):
    found = comparing.compare_texts(stored, new, Allowed())
    assert found.atol == pytest.approx(needs)
    assert bool(found.says) is (needs > 0)
    for atol, agree in ((needs * 1.001, True), (needs * 0.999, False)):
        if 0 < needs < math.inf:
            allowed = Allowed(atol=atol)
            again = comparing.compare_texts(stored, new, allowed)
            assert (not again.says) is agree


def test_typed_constants_are_exact():
    code = """PAPER = {"a": 65.50, "b": -1.5e-3}
print("the paper has 71.37, of", 0.5, 12, f"{PAPER} or 3.125")"""
    constants = comparing.typed(code)
    assert {str(v.normalize()) for v in constants} == {
        "65.5",
        "71.37",
        "3.125",
    }
    assert comparing.typed("print(") == frozenset()
    allowed = Allowed(atol=0.1, typed=constants)
    for stored, new in (("65.50", "65.51"), ("71.4", "71.37")):
        found = comparing.compare_texts(stored, new, allowed)
        assert found.atol == math.inf
        assert found.says
    # Neither is typed: a result.
    assert not comparing.compare_texts("65.52", "65.53", allowed).says


def test_where_typed_constants_are_exact():
    tolerant = {"nbval": {"atol": 0.1}}
    cells = [
        nbformat.v4.new_code_cell("a = 71.37"),
        nbformat.v4.new_code_cell("b = 0.301", metadata=tolerant),
        nbformat.v4.new_code_cell("a, b"),
    ]
    found = [sorted(map(str, c)) for c in comparing.constants(cells)]
    assert found == [["71.37"], ["0.301"], ["0.301", "71.37"]]


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def picture():
    generator = np.random.default_rng(0)
    return generator.integers(2, 250, (100, 203, 3), dtype=np.uint8)


def difference_of(a, b, **allowed):
    pair = encode(a), encode(b)
    return comparing.compare_pictures(*pair, Allowed(**allowed))


def test_picture():
    base = picture()
    spot, dot = base.copy(), base.copy()
    spot[96:, 200:] = 255 - spot[96:, 200:]
    dot[50, 50] ^= 64
    opaque = np.dstack([base, np.full(base.shape[:2], 255, np.uint8)])
    for new in (base, base + np.uint8(1), dot, opaque):
        assert not difference_of(base, new).says
        assert difference_of(base, new).rms == 0
    for new in (base + np.uint8(2), spot, base[::-1], base[:, 1:]):
        assert difference_of(base, new).says
    assert "(200, 96)" in difference_of(base, spot).says
    assert difference_of(base, base[:, 1:]).rms == math.inf
    needs = difference_of(base, spot).rms
    assert not difference_of(base, spot, rms=1.001 * needs).says
    assert difference_of(base, spot, rms=0.999 * needs).says


def test_the_dark_rendering_is_a_picture():
    assert {"image/png", MIME} == comparing.PICTURES


def test_transparent_is_white():
    clear = np.zeros((9, 9, 4), np.uint8)
    white = np.full((9, 9, 3), 255, np.uint8)
    assert not difference_of(clear, white).says


TEXT = """\
print("mean   of    1234567 losses")
print("is", 4321 / 10_000, "of", 71.37)"""

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

DARK = f"""\
from atrous.experiments import figures
figures.use_style()
{CURVES}"""

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


def repaint(change, kind="image/png"):
    def mutate(cell):
        data = cell.outputs[0].data
        file = io.BytesIO(base64.b64decode(data[kind]))
        pixels = np.asarray(change(Image.open(file).convert("RGB")))
        data[kind] = encode(pixels)

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
        "typed": (TEXT, text("71.37", "71.38"), LINES),
        "typed, atol": (
            TEXT,
            metadata(text("71.37", "71.38"), nbval={"atol": 0.03}),
            LINES,
        ),
        "missing line": (TEXT, text("\nis 0.4321 of 71.37", ""), LINES),
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
        "dark": (DARK, nothing, ""),
        "dark, flipped": (DARK, repaint(ImageOps.mirror, MIME), PIXELS),
    },
}


def pytest_nbval(folder, *options, gib=4):
    text = (ROOT / "chapters/conftest.py").read_text()
    assert "BUDGET_GIB = 4.0" in text
    text = text.replace("BUDGET_GIB = 4.0", f"BUDGET_GIB = {gib}")
    (folder / "conftest.py").write_text(text)
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
        count = len(CASES[name])
        line = rf"{name}\.ipynb: {count} cells, \d+\.\d of 120 s"
        assert re.search(rf"{line}, \d\.\d\d of 4 GiB\n", outcomes["pytest"])
        assert f"{name}.ipynb: running\n" in outcomes["pytest"]
    assert not checker.Cost(seconds=119, gib=3.9).is_slow()
    assert checker.Cost(seconds=121).is_slow()
    assert not checker.Cost(seconds=121, gib=3.9).is_large()
    assert checker.Cost(gib=4.1).is_large()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_this_process():
    # A process of its own: what this one has used depends on other tests.
    code = "b = bytearray(300 * 2**20); print(len(b), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    kernel = SimpleNamespace(pid=child.pid)
    assert 0.29 < checker.Chapter.peak_gib(kernel) < 0.5
    child.communicate(b"\n")
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
    ("book", "gib", "status", "says"),
    [
        ({}, 4, 0, "of 120 s, "),
        ({"budget_seconds": 0.001}, 4, 0, "of 0.001 s (slow), "),
        ({}, 0.01, 1, "of 0.01 GiB  OVER BUDGET"),
        ({"budget": 200}, 4, 2, "metadata budget: 200"),
    ],
)
def test_time_is_told_and_memory_is_checked(tmp_path, book, gib, status, says):
    cell = new_code_cell("1", execution_count=1)
    data = {"text/plain": "1"}
    cell.outputs = [new_output("execute_result", data, execution_count=1)]
    notebook = new_notebook(cells=[cell], metadata={"book": book})
    nbformat.write(notebook, tmp_path / "a.ipynb")
    done = pytest_nbval(tmp_path, gib=gib)
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
    assert [cell.id for cell in cells] == [f"cell-00{i}" for i in (1, 2, 3)]
    assert cells[2].outputs[0].data["text/plain"] == "'1'"


@pytest.mark.parametrize(
    "code", ["1 / 0", "import warnings\nwarnings.warn('ZeroDivisionError')"]
)
def test_execute_stores_no_fault(tmp_path, code):
    (tmp_path / "a.md").write_text(CHAPTER.format(code))
    (tmp_path / "a.ipynb").write_text("old")
    with pytest.raises(RuntimeError, match=r"cell-003: [^$]*ZeroDivision"):
        execute.execute("a", tmp_path)
    assert (tmp_path / "a.ipynb").read_text() == "old"


# ---- how far results move


OTHER = "two threads, other first weights"
MEASURED = """\
import os
moved = 0.1 * (os.environ["OMP_NUM_THREADS"] == "2")
print(f"{0.5 + moved:.3f}")"""
VERDICT = "print('gain' if moved == 0 else 'loss')"
TRAINED = """\
import torch
from atrous.experiments import training
layer = torch.nn.Conv2d(1, 1, 1)
torch.nn.init.ones_(layer.weight)
batch = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
training.fit(layer, [batch], optimizer, steps=1, loss=lambda x, y: x.sum())
print(f"{layer.weight.item():.9f}")"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Writes and runs a notebook of two cells on one thread; its path."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def write(*sources, atol=0.25):
        cells = [new_code_cell(source) for source in sources]
        cells[0].metadata["nbval"] = {"atol": atol}
        notebook = new_notebook(cells=cells)
        execute.run(notebook, tmp_path)
        nbformat.write(notebook, tmp_path / "a.ipynb")
        return tmp_path / "a.ipynb"

    return write


def test_spread_is_measured(measured):
    path = measured(MEASURED)
    assert spread.measure(path, "SSE4.1") == ([{}], [])
    needs, faults = spread.measure(path, OTHER)
    assert needs == [{"atol": pytest.approx(0.1)}]
    assert not faults


def test_first_weights_are_perturbed(measured):
    path = measured(TRAINED)
    (need,), faults = spread.measure(path, OTHER)
    assert 1e-8 < need["atol"] < 5e-6
    assert not faults
    assert spread.measure(path, "SSE4.1") == ([{}], [])


def test_a_verdict_that_changes_is_a_fault(measured):
    path = measured(MEASURED, VERDICT)
    _, faults = spread.measure(path, OTHER)
    assert "-gain\n+loss" in faults[0]


def test_a_cell_that_raises_is_a_fault(measured):
    path = measured(MEASURED, "assert moved == 0")
    _, (fault,) = spread.measure(path, OTHER)
    assert "AssertionError" in fault


def spreads(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell.metadata.get("spread") for cell in notebook.cells]


def test_spread_is_stored_and_never_lowered(measured):
    path = measured(MEASURED, "1")
    spread.store(path, [[{"atol": 0.1}], [{}]], {"b", "a"})
    assert spreads(path) == [{"atol": 0.1}, None]
    spread.store(path, [[{"atol": 0.03}]], {"c"})
    assert spreads(path) == [{"atol": 0.1}, None]
    runs = nbformat.read(path, as_version=4).metadata["spread"]
    assert runs == ["a", "b", "c"]
    spread.forget(path)
    assert spreads(path) == [None, None]


def test_verdicts_that_may_change_elsewhere_are_named():
    rows = [
        "| a | +0.05 | +0.031 to +0.069 | gain |",
        "| b | -0.05 | -0.071 to -0.029 | loss |",
        "| c | +0.01 | -0.010 to +0.030 | not decided |",
    ]
    data = {"text/markdown": "\n".join(rows)}
    output = new_output("display_data", data)
    cell = new_code_cell("1", outputs=[output])
    for seen, found in ((0.028, []), (0.03, rows[1:2]), (0.04, rows[:2])):
        cell.metadata["spread"] = {"atol": seen}
        assert spread.close_calls(cell) == found


@pytest.mark.parametrize(
    ("result", "kept"), [("0.51", True), ("0.9", False), ("5", False)]
)
def test_what_was_measured_stays_with_its_results(measured, result, kept):
    path = measured("print(0.5)", "1")
    spread.store(path, [[{"atol": 0.1}]], {"a"})
    before = nbformat.read(path, as_version=4)
    text = CHAPTER.format(f"print({result})")
    text = text.replace(
        "ipython3\n", "ipython3\n---\nnbval:\n  atol: 0.25\n---\n"
    )
    path.with_suffix(".md").write_text(text)
    execute.execute("a", path.parent)
    after = nbformat.read(path, as_version=4)
    found = after.metadata.get("spread"), after.cells[2].metadata.get("spread")
    expected = before.metadata["spread"], before.cells[0].metadata["spread"]
    assert found == (expected if kept else (None, None))
