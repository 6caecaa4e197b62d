"""What every chapter must have, checked without running it."""

import re
from decimal import Decimal
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from jupytext.config import load_jupytext_config
from nbval.plugin import comment_markers, metadata_tags

import comparing
import notebooks
from atrous.experiments.colours import CURVES
from atrous.experiments.renderings import MIME

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "chapters"
TOC = ROOT / "_toc.yml"
NAMES = sorted(
    {p.stem for p in FOLDER.iterdir() if p.suffix in (".md", ".ipynb")}
)
MOST_LINES = 25
LEAST_ALT = 40
PHONE, LEAST_TEXT = 358, 9.3  # pixels; 7 points of print
ABSOLUTE = re.compile(
    r"(?<![\w.-])/(?:tmp|home|root|Users|work|usr|var|opt|mnt)/"
)

every_chapter = pytest.mark.parametrize("name", NAMES)


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name):
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def has_picture(cell):
    return any("image/png" in out.get("data", ()) for out in cell.outputs)


def pictures(name):
    return [cell for cell in code_cells(name) if has_picture(cell)]


def figure(cell):
    return cell.metadata.get("mystnb", {}).get("figure", {})


def listed(node):
    """Yield every file named anywhere in a table of contents."""
    if isinstance(node, list):
        for child in node:
            yield from listed(child)
    elif isinstance(node, dict):
        if "file" in node:
            yield node["file"]
        yield from listed(list(node.values()))


def test_there_are_chapters():
    if not TOC.exists():
        pytest.skip("there is no _toc.yml yet")
    files = set(listed(yaml.safe_load(TOC.read_text())))
    chapters = {f"chapters/{name}" for name in NAMES}
    assert chapters
    assert chapters == {file for file in files if file.startswith("chapters/")}


@every_chapter
def test_the_notebook_is_the_text_in_plain_markdown(name):
    text, stored = jupytext.read(FOLDER / f"{name}.md"), read(name)
    made = notebooks.edition(name, text)
    for part in (stored, *stored.cells):
        part.metadata.pop("spread", None)  # measured, as outputs are
        if part.get("cell_type") == "code":
            part |= {"outputs": [], "execution_count": None}
    for a, b in zip(made.cells, stored.cells, strict=True):
        assert a == b, f"make notebooks NAMES={name}"
    stored.metadata.pop("language_info", None)
    assert made.metadata == stored.metadata


def test_a_text_holds_what_authors_set_and_nothing_measured():
    set_by_authors = {"book": {"budget_seconds": 180}}
    cell = nbformat.v4.new_code_cell("1")
    cell.metadata |= {"nbval": {"atol": 0.1}, "spread": {"atol": 0.02}}
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata=set_by_authors | {"spread": ["a run"]}
    )
    config = load_jupytext_config(str(FOLDER / f"{NAMES[0]}.md"))
    text = jupytext.writes(notebook, "md:myst", config=config)
    again = jupytext.reads(text, "md:myst")
    assert again.metadata["book"] == set_by_authors["book"]
    assert again.cells[0].metadata == {"nbval": {"atol": 0.1}}
    assert "spread" not in text


@every_chapter
def test_cells_ran_in_order(name):
    counts = [c.execution_count for c in code_cells(name) if c.source.strip()]
    assert counts == list(range(1, len(counts) + 1))


@every_chapter
def test_figures_are_described(name):
    for cell in pictures(name):
        image = cell.metadata.get("mystnb", {}).get("image", {})
        caption, alt = figure(cell).get("caption", ""), image.get("alt", "")
        assert figure(cell).get("name"), cell.source
        assert caption.strip(), cell.source
        assert len(alt.strip()) >= LEAST_ALT, cell.source
        assert alt.strip() != caption.strip(), cell.source


@every_chapter
def test_figures_stand_alone(name):
    for cell in pictures(name):
        assert "hide-input" in cell.metadata.get("tags", ()), cell.source
        # myst-nb would give a second output the same caption and name
        assert len([out for out in cell.outputs if "data" in out]) == 1


@every_chapter
def test_what_is_folded_says_what_it_is(name):
    for cell in code_cells(name):
        if "hide-input" in cell.metadata.get("tags", ()):
            words = cell.metadata["mystnb"]
            assert words["code_prompt_show"].startswith("Show the ")
            assert words["code_prompt_hide"].startswith("Hide the ")


@every_chapter
def test_a_sentence_stands_between_cells(name):
    row = 0
    for cell in jupytext.read(FOLDER / f"{name}.md").cells:
        row = row + 1 if cell.cell_type == "code" else 0
        assert row <= 2, cell.source


@every_chapter
def test_figures_can_be_read_on_a_phone_and_in_the_dark(name):
    for cell in pictures(name):
        (output,) = (out for out in cell.outputs if "data" in out)
        assert MIME in output.data, f"make execute NAMES={name}\n{cell.source}"
        sizes = {
            comparing.decode(output.data[kind]).shape
            for kind in comparing.PICTURES
        }
        assert len(sizes) == 1, cell.source
        facts = output.metadata[MIME]
        assert facts["text"] * PHONE >= LEAST_TEXT, cell.source
        assert not facts["unnamed"], cell.source


def test_a_curve_has_one_colour_in_the_whole_book():
    found = {}
    for name in NAMES:
        for cell in pictures(name):
            for output in cell.outputs:
                named = output.metadata.get(MIME, {}).get("colours", {})
                for curve, colour in named.items():
                    before = found.setdefault(curve, colour)
                    assert colour == before, f"{curve}\n{cell.source}"
    assert {*CURVES} <= {*found}  # what the table names is drawn


def test_figure_names_are_unique():
    names = [figure(cell).get("name") for n in NAMES for cell in pictures(n)]
    assert sorted(set(names)) == sorted(names)


@every_chapter
def test_cells_are_short(name):
    for cell in code_cells(name):
        assert len(cell.source.splitlines()) <= MOST_LINES, cell.source


@every_chapter
def test_no_output_is_hidden(name):
    for cell in code_cells(name):
        assert not [name for name in comment_markers if name in cell.source]
        tags = set(cell.metadata.get("tags", ()))
        assert not tags & (metadata_tags.keys() - {"raises-exception"})


@every_chapter
def test_no_path_of_this_machine(name):
    for cell in read(name).cells:
        assert not ABSOLUTE.search(cell.source)
        for output in cell.get("outputs", ()):
            texts = [output.get("text", ""), output.get("evalue", "")]
            texts += output.get("traceback", [])
            texts += [
                content
                for kind, content in output.get("data", {}).items()
                if kind.startswith("text/")
            ]
            assert not ABSOLUTE.search("\n".join(texts))


def changed(text):
    """The text with one of its decimals off by two of its last digit."""
    for found in comparing.DECIMAL.finditer(text):
        number = Decimal(found[1])
        off = number + Decimal((0, (2,), number.as_tuple().exponent))
        start, end = found.span(1)
        yield f"{text[:start]}{off}{text[end:]}"


@every_chapter
def test_a_changed_digit_is_noticed(name):
    """Of every decimal in a cell that declares no tolerance."""
    tried, cells = 0, code_cells(name)
    for cell, typed in zip(cells, comparing.constants(cells), strict=True):
        if "nbval" in cell.metadata:
            continue
        allowed = comparing.Allowed(typed=typed)
        for kind, text in comparing.flatten(cell.outputs):
            for other in changed(text) if "image" not in kind else ():
                assert comparing.compare_texts(text, other, allowed).says
                tried += 1
    assert tried > 20


BOX = re.compile(r"^```\{short\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRECISE = re.compile(r"\d+\.\d+|\d{1,3}(?:,\d{3})+")  # a result's number


@every_chapter
def test_the_box_on_top_says_what_cells_print(name):
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    (box,) = BOX.findall(text)
    assert text.index("```{short}") < text.index("{code-cell}")
    printed = "\n".join(
        found
        for cell in code_cells(name)
        for kind, found in comparing.flatten(cell.outputs)
        if "image" not in kind
    )
    numbers = PRECISE.findall(box)
    assert len(numbers) >= 2
    for number in numbers:
        alone = rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)"
        assert re.search(alone, printed), number


@every_chapter
def test_tolerances_are_measured(name):
    """Each is twice what `make spread` saw."""
    tolerant = [c for c in code_cells(name) if "nbval" in c.metadata]
    assert not tolerant or "spread" in read(name).metadata, (
        f"make spread NAMES={name}"
    )
    for cell in tolerant:
        declared, seen = cell.metadata["nbval"], cell.metadata["spread"]
        first = cell.source.strip().partition("\n")[0]
        assert seen.keys() == declared.keys(), first
        for key, value in declared.items():
            assert value >= 2 * seen[key], (
                f"{first}: {key} {value}, but {seen[key]} was seen"
            )


@every_chapter
def test_spread_was_seen_under_other_numerics(name):
    runs = read(name).metadata.get("spread")
    if runs is not None:
        assert any("two threads, other first weights" in run for run in runs)
