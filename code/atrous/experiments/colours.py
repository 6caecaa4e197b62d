"""The book's colours: one palette, and one colour for one curve everywhere.

The palette is told apart by the colour-blind and readable in print (Okabe &
Ito's, without its yellow). Each colour has a tone for dark pages; both are
those of the explorer.
"""

from collections.abc import Iterable

from matplotlib.colors import LinearSegmentedColormap, ListedColormap

BLUE, ORANGE, GREEN, PINK, SKY, RED = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
)
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
BROWN, VIOLET = "#8C6D46", "#5A4FCF"  # where six are too few
INK, PAPER, RULE = "#22272B", "#FFFFFF", "#C9CED3"
GROUND = "#E8EAEC"  # of label maps
HOLE = "#F3D9C6"  # an input that no weight touches
LABELS = ListedColormap([GROUND, *PALETTE, BROWN, VIOLET])
COUNTS = LinearSegmentedColormap.from_list("counts", ["#CFE3F1", BLUE, INK])
INKS = LinearSegmentedColormap.from_list("inks", [PAPER, INK])

DARK = {
    PAPER: "#14181C",
    INK: "#E8EAEC",
    RULE: "#3A4249",
    GROUND: "#2A3138",
    HOLE: "#7D5E47",  # still sand; the explorer hatches its holes
    BLUE: "#3D9BD6",
    ORANGE: "#F0B429",
    GREEN: "#2FC295",
    PINK: "#DD93BB",
    SKY: "#8CCBF2",
    RED: "#FF8A3D",
    BROWN: "#B8956A",
    VIOLET: "#9A92EF",
}
# More is stronger in both: darker on white paper, lighter on dark.
DARK_SCALES = {
    COUNTS.name: LinearSegmentedColormap.from_list(
        "dark counts", ["#16364A", "#2077AE", "#E4F2FB"]
    ),
    INKS.name: LinearSegmentedColormap.from_list(
        "dark inks", [DARK[PAPER], DARK[INK]]
    ),
}

# What is drawn in more than one figure.
CURVES = {
    "plain": BLUE,
    "dilated": ORANGE,
    "9 valid": BLUE,
    "6 valid": ORANGE,
    "4 valid": GREEN,
    "2 valid": PINK,
    "1 valid": SKY,
    "rate 2": GREEN,
    "rate 3": ORANGE,
    "rate 4": BLUE,
    "rate 6": ORANGE,
    "rate 8": PINK,
    "rate 12": RED,
    "rate 16": SKY,
    "rate 18": SKY,
    "rate 24": VIOLET,
}


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each curve of a figure, by its name.

    Names in `CURVES` have theirs in every figure. The others take what is
    left of the palette, in order.

    Raises:
        ValueError: If there are more curves than colours.
    """
    names = [*names]
    found = {name: CURVES[name] for name in names if name in CURVES}
    left = [colour for colour in PALETTE if colour not in found.values()]
    others = [name for name in names if name not in found]
    if len(others) > len(left):
        raise ValueError(
            f"names={names}: {len(left)} colours are left for {len(others)}; "
            "draw fewer curves in one figure"
        )
    found |= zip(others, left, strict=False)
    return {name: found[name] for name in names}
