"""The papers that the book cites, in words for a notebook."""

import functools
from pathlib import Path

from pybtex.database import Entry, parse_file
from pybtex.richtext import Text


@functools.cache
def entries(path: Path) -> dict[str, Entry]:
    """The entries of a BibTeX file by key."""
    return dict(parse_file(str(path), encoding="utf-8").entries)


def plain(latex: str) -> str:
    """Text of a field of a bibliography."""
    return str(Text.from_latex(latex))


def authors(entry: Entry, *, everyone: bool = False) -> str:
    """Family names: one, two, or the first of more; or all of them."""
    names = [plain(" ".join(p.last_names)) for p in entry.persons["author"]]
    if len(names) > 2 and not everyone:
        return f"{names[0]} et al."
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def web(entry: Entry) -> str:
    """Address of a paper: its DOI, arXiv, or what else is given."""
    fields = entry.fields
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return fields["url"]
