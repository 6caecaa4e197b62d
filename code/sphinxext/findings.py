"""The box under a chapter's title: what it found, in three or four lines.

```{short}
- A finding with its number.
```

A number there stands in an output of the chapter, too; a test compares.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TITLE = "In short"


class Short(SphinxDirective):
    """An admonition with a title of its own."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the box with the parsed content."""
        self.assert_has_content()
        box = nodes.admonition(classes=["in-short"])
        box += nodes.title(TITLE, TITLE)
        self.state.nested_parse(self.content, self.content_offset, box)
        return [box]


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("short", Short)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
