"""The glossary in sections by letter, which the page's contents then list.

The text holds one `glossary` directive in alphabetical order. Its entries
are put under headings when the page is read, before the contents are made.
"""

from itertools import groupby

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


def letter(entry: nodes.definition_list_item) -> str:
    """The letter that an entry stands under: that of its first name."""
    return entry.next_node(nodes.term).astext()[0].upper()


def section(name: str, entries: list[nodes.Node]) -> nodes.section:
    """The section of a letter, with a glossary of its entries."""
    terms = addnodes.glossary()
    terms += nodes.definition_list("", *entries, classes=["glossary"])
    heading = nodes.title(name, name)
    anchor = f"letter-{name.lower()}"
    return nodes.section("", heading, terms, ids=[anchor], names=[])


class Letters(SphinxTransform):
    """Divides each glossary of a page."""

    default_priority = 700  # the contents are made at 880

    def apply(self, **kwargs) -> None:
        """Divide the glossaries; their entries are in alphabetical order."""
        for glossary in list(self.document.findall(addnodes.glossary)):
            entries = glossary.findall(nodes.definition_list_item)
            parts = groupby(list(entries), letter)
            glossary.replace_self(
                [section(name, [*part]) for name, part in parts]
            )


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_transform(Letters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
