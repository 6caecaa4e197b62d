"""The results page shows what the notebooks have stored, all of it."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from atrous.tables import Table

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "code" / "sphinxext"))

import results  # noqa: E402

PAGE = ROOT / "_build/html/book/results.html"
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))


def notebook(*cells):
    made = nbformat.v4.new_notebook()
    for cell in cells:
        if isinstance(cell, str):
            made.cells.append(nbformat.v4.new_markdown_cell(cell))
            continue
        table, metadata = cell
        data = {"text/markdown": table._repr_markdown_()}
        output = nbformat.v4.new_output("execute_result", data=data)
        made.cells.append(
            nbformat.v4.new_code_cell(outputs=[output], metadata=metadata)
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
            (two, {"nbval": {"atol": 0.25}}),
            "## Part `x`",
            (one, {}),
        ),
    )
    assert text.splitlines() == [
        "## Title",
        "",
        "### Part `x`",
        "",
        "[In the chapter](../chapters/name.ipynb#part-x)",
        "",
        "| a |",
        "| --: |",
        "| 1 |",
        "",
        "| b |",
        "| --: |",
        "| 0.5000 |",
        "",
        "Decimals may differ by 0.25.",
        "",
        "### Part `x`",
        "",
        "[In the chapter](../chapters/name.ipynb#part-x-1)",
        "",
        "| a |",
        "| --: |",
        "| 1 |",
    ]


def test_no_stored_table_is_missing():
    if not PAGE.exists():
        pytest.skip("THE SITE IS NOT BUILT, NOT CHECKED")
    soup = BeautifulSoup(PAGE.read_text(encoding="utf-8"), "html.parser")
    shown = [table.get_text(" ") for table in soup.select("article table")]
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
