import pytest

from atrous.experiments.tables import Table

ROWS = [("a", 12345, 0.123456, True), ("long name", 7, 20.0, False)]
TABLE = Table(["name", "count", "share", "used"], ROWS)


def test_markdown():
    assert TABLE._repr_markdown_().splitlines() == [
        "| name | count | share | used |",
        "| :-- | --: | --: | --: |",
        "| a | 12,345 | 0.1235 | yes |",
        "| long name | 7 | 20.00 | no |",
    ]


def test_four_digits_or_whole():
    values = (0.00123456, 999.44, 999.5, 1403.2, 1234567.8, float("nan"))
    cells = repr(Table(["value"], [(value,) for value in values])).split()
    shown = ["0.001235", "999.4", "1,000", "1,403", "1,234,568", "nan"]
    assert cells == ["value", *shown]


def test_text_is_aligned():
    lines = repr(TABLE).splitlines()
    assert lines[1].index("12,345") == lines[0].index("count")
    assert len({len(line) for line in lines}) == 1


def test_rows_are_read_once_and_checked():
    table = Table(["n"], ((n,) for n in range(2)))
    assert repr(table) == repr(table)
    with pytest.raises(ValueError, match="row 2 has 1 cells, the header 2"):
        Table(["a", "b"], [(1, 2), (3,)])


def test_bars_stay_in_their_cells():
    table = Table(["|x|", "y"], [("a|b", 1)])
    assert table._repr_markdown_().splitlines() == [
        r"| \|x\| | y |",
        "| :-- | --: |",
        r"| a\|b | 1 |",
    ]
