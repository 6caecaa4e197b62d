"""The results page shows what the notebooks have stored, all of it."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

import results
from atrous.experiments.tables import Table

ROOT = Path(__file__).parents[3]
CONF = f"""import sys
sys.path.append({str(ROOT / "code" / "sphinxext")!r})
extensions = ["myst_nb", "sphinx_external_toc", "results"]
exclude_patterns = ["_build", "**/*.ipynb"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_render_markdown_format = "gfm"
"""
TASK = "task {func}`shapes <atrous.experiments.tasks.shapes>`."
MEANS = f"Part. Mean ± standard deviation over 3 seeds, {TASK}"
OVER = f"Part. Over 3 seeds, {TASK}"
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))


def notebook(*cells):
    """Of text, of tables with metadata, and with the code behind them."""
    made = nbformat.v4.new_notebook()
    for cell in cells:
        if isinstance(cell, str):
            made.cells.append(nbformat.v4.new_markdown_cell(cell))
            continue
        table, metadata, *source = cell
        data = {"text/markdown": table._repr_markdown_()}
        output = nbformat.v4.new_output("execute_result", data=data)
        made.cells.append(
            nbformat.v4.new_code_cell(
                "".join(source), outputs=[output], metadata=metadata
            )
        )
    return made


def test_tables_stand_under_their_headings():
    one, two = Table(["a"], [(1,)]), Table(["b"], [(0.5,)])
    text = results.page(
        "name",
        notebook(
            "# Title",
            "## Part `x`\n\nwords",
            (one, {}),
            (two, {"nbval": {"atol": 0.25}, "caption": "What it says."}),
            "## Part `x`",
            (one, {}),
        ),
    )
    assert text.splitlines() == [
        "(tables-name)=",
        "## Title",
        "",
        "(tables-name-part-x)=",
        "### Part `x`",
        "",
        "[In the chapter](../chapters/name.md#part-x)",
        "",
        "~~~{table} Part `x`.",
        "| a |",
        "| --: |",
        "| 1 |",
        "~~~",
        "",
        "~~~{table} What it says.",
        "| b |",
        "| --: |",
        "| 0.5000 |",
        "~~~",
        "",
        "Decimals may differ by 0.25.",
        "",
        "(tables-name-part-x-1)=",
        "### Part `x`",
        "",
        "[In the chapter](../chapters/name.md#part-x-1)",
        "",
        "~~~{table} Part `x`.",
        "| a |",
        "| --: |",
        "| 1 |",
        "~~~",
    ]


def test_the_contents_lead_to_the_tables():
    one = Table(["a"], [(1,)])
    cells = (
        "# Title",
        "## A",
        (one, {}),
        (one, {}),
        "## B",
        "## C",
        (one, {}),
    )
    assert results.contents("name", notebook(*cells)) == (
        "- [Title](#tables-name): [A](#tables-name-a) · [C](#tables-name-c)"
    )


@pytest.mark.parametrize(
    ("cell", "source", "caption"),
    [
        ("0.5 ± 0.1 (n=3)", "found = over_seeds(run, range(3))\nfound", MEANS),
        ("0.5", "[tasks.shapes(seed) for seed in range(3)]", OVER),
        ("0.5", "tasks.shapes(3)", "Part."),
    ],
)
def test_a_caption_says_what_was_trained(cell, source, caption):
    before = (Table(["a"], []), {}, "def run(seed):\n    tasks.shapes(seed)")
    table = Table(["a"], [(cell,)])
    cells = ("# Title", "## Part", before, (table, {}, source))
    assert results.tables(notebook(*cells))[1].caption == caption


HEADER = ["in mean IoU", "mean gain", "95 % interval", "verdict"]
JUDGED = Table(
    HEADER,
    [
        ("new over old", "+0.030", "+0.019 to +0.041", "gain"),
        ("new over old, at edges", "+0.001", "-0.01 to +0.02", "no gain"),
    ],
)
CLAIM = {"says": "new is better", "source": "A paper", "row": "new over old"}


def test_the_ledger_reads_the_row_that_a_claim_names():
    cell = (JUDGED, {"claims": [CLAIM]}, "over_seeds(run, range(5))")
    assert results.ledger("name", notebook("# Title", "## Part", cell)) == [
        "| new is better | holds here | +0.030 (+0.019 to +0.041) | 5 seeds "
        "| A paper | none | [Part](../chapters/name.md#part) |"
    ]
    other = {"row": "new over old, at edges", "paper": "1 to 2"}
    other = CLAIM | other | {"over": "9 pairs", "but": "once"}
    cells = ("# Title", (JUDGED, {"claims": [CLAIM, other]}))
    assert (
        "| not seen; but once | +0.001 (-0.01 to +0.02) | 9 pairs | A paper "
        "| 1 to 2 |" in (results.ledger("name", notebook(*cells))[1])
    )


def test_a_gain_that_other_machines_may_not_see_is_no_open_verdict():
    say = results.verdict_words
    assert say("-0.02 to +0.01", "no loss") == "not decided; no loss"
    for interval in ("-0.020 to -0.006", "+0.006 to +0.020"):
        assert say(interval, "no loss") == results.NARROW
    assert say("-0.02 to -0.01", "no gain") == "not seen"


@pytest.mark.parametrize("row", ["old over new", "new"])
def test_a_claim_without_its_row_is_refused(row):
    with pytest.raises(ValueError, match="rows begin so"):
        results.judged(JUDGED._repr_markdown_(), row)


def test_a_claim_needs_an_interval():
    with pytest.raises(ValueError, match="its table has no 95 % interval"):
        results.judged(Table(["a"], [(1,)])._repr_markdown_(), "a")


def test_a_claim_needs_a_table():
    with pytest.raises(ValueError, match="'new over old': no table is shown"):
        results.ledger(
            "name",
            nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(metadata={"claims": [CLAIM]})]
            ),
        )


def test_every_chapter_that_judges_has_claims():
    for path in NOTEBOOKS:
        stored = nbformat.read(path, as_version=4)
        judges = any(
            results.INTERVAL in output.get("data", {}).get("text/markdown", "")
            for cell in stored.cells
            for output in cell.get("outputs", ())
        )
        assert bool(results.ledger(path.stem, stored)) == judges, path.stem


def built(folder):
    """The tables of a small book's page, and the targets of its links."""
    # In a process of its own: the extensions look at all objects there are.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", ".", "_build/html"]
    subprocess.run(command, cwd=folder, check=True)
    page = (folder / "_build/html/book/results.html").read_text(
        encoding="utf-8"
    )
    soup = BeautifulSoup(page, "html.parser")
    for caption in soup.select("caption"):
        caption.decompose()
    links = soup.select(f"a[href*='{results.FOLDER}/'][href*='#']")
    return (
        [table.get_text(" ", strip=True) for table in soup.select("table")],
        {link["href"] for link in links},
    )


def test_the_page_follows_what_is_stored(tmp_path):
    files = {
        "conf.py": CONF,
        "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n"
        "- file: chapters/two\n- file: chapters/one\n- file: book/results\n",
        "book/index.md": "# Book\n",
        "book/results.md": "# Results\n\nTables.\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "chapters").mkdir()

    def store(name, number):
        made = notebook(
            f"# {name}", "## Part", (Table(["a"], [(number,)]), {})
        )
        path = tmp_path / f"chapters/{name}.ipynb"
        nbformat.write(made, path)
        path.with_suffix(".md").write_text(f"# {name}\n\n## Part\n")

    store("one", 1)
    store("two", 2)
    links = {f"../chapters/{name}.html#part" for name in ("one", "two")}
    assert built(tmp_path) == (["a 2", "a 1"], links)
    store("one", 3)
    assert built(tmp_path) == (["a 2", "a 3"], links)


def test_no_stored_table_is_missing(site):
    page = (site / "book/results.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(page, "html.parser")
    others = soup.select("#the-ledger table, #on-real-data table")
    assert len(others) == 2
    for table in others:
        table.extract()
    tables = soup.select("article table")
    for table in tables:
        caption = table.caption.extract()
        assert len(caption.get_text()) > 10
    shown = [table.get_text(" ") for table in tables]
    stored = []
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", ()):
                table = output.get("data", {}).get("text/markdown")
                if table:
                    stored.append(table)
    assert len(shown) == len(stored) > 100
    # Numbers as they are printed; words may carry markup.
    numbers = re.compile(r"\d+\.\d+")
    assert sorted(numbers.findall(" ".join(shown))) == sorted(
        numbers.findall(" ".join(stored))
    )


def test_seeds_are_those_that_were_printed():
    """What the code says of seeds is what the tables say, where they do."""
    counted = 0
    for path in NOTEBOOKS:
        for found in results.tables(nbformat.read(path, as_version=4)):
            printed = set(re.findall(r"\(n=(\d+)\)", found.table))
            if printed:
                over = " and ".join(sorted(printed, key=int))
                assert f"over {over} seeds" in found.caption.lower()
                counted += 1
            # Its intervals are over photographs and strokes.
            if results.INTERVAL in found.table and path.stem != "photograph":
                assert re.search(r"ver \d+ seeds[.,]", found.caption)
                # In these most tasks are the chapter's own.
                if path.stem not in ("sequences", "today"):
                    assert re.search("seeds, tasks? ", found.caption)
    assert counted > 10


def test_the_contents_are_whole(site):
    page = (site / "book/results.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(page, "html.parser")
    links = soup.select("#the-tables li a[href^='#tables-']")
    sections = {
        tag.find_parent("section")["id"] for tag in soup.select("caption")
    }
    for link in links:
        target = soup.find(id=link["href"].removeprefix("#"))
        section = target.find_parent("section") or target
        sections -= {section["id"], target["id"]}
    assert not sections
    assert len(links) > 50
