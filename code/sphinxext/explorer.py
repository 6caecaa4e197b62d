"""The explorer, whole or small.

```{explorer}
```

is the whole one, whose state lives in the page's address.

```{explorer} layers=k3r2p2-k3r2p2&size=33
:parts: layers map
What to try.
```

is a small one that starts with that state and shows those parts. Readers
without scripts get a picture of the state, drawn when the book is built.
"""

import html
import json
import subprocess
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from equations import NODE

PAGE = "book/explorer"
PARTS = ("layers", "map", "section", "rules", "valid")
WHOLE = " ".join(PARTS)
SCRIPTS = (
    "arithmetic",
    "branches",
    "presets",
    "state",
    "drawing",
    "output",
    "words",
    "section",
    "curves",
    "template",
    "player",
    "view",
    "explorer",
)
WHOLE_ONLY = {"presets"}  # a small explorer offers no other stack
STILL = Path(__file__).parents[1] / "tools" / "still.js"


class explorer(nodes.container):  # noqa: N801, as docutils names its nodes
    """Stands where a page has an explorer."""


def parts(argument: str) -> str:
    """Read the parts to show.

    Raises:
        ValueError: If there is none, or one is unknown.
    """
    found = (argument or "").split()
    if not found or not set(found) <= set(PARTS):
        raise ValueError(f"parts: {argument}, not of {', '.join(PARTS)}")
    return " ".join(found)


def still(state: str, shown: str, name: str) -> tuple[str, str]:
    """Draw parts of a state; return the picture and what it shows in words.

    `name` begins the ids in the picture.

    Raises:
        ValueError: If the explorer does not understand the state.
    """
    made = subprocess.run(
        [NODE, STILL, state, shown, name],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if made.returncode:
        raise ValueError(made.stderr.strip())
    found = json.loads(made.stdout)
    return found["svg"], found["words"]


class Explorer(SphinxDirective):
    """An explorer, its still picture, and what to try."""

    optional_arguments = 1
    option_spec: ClassVar = {"parts": parts}
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the text of the directive, then the explorer."""
        state = self.arguments[0] if self.arguments else ""
        shown = self.options.get("parts", "map" if state else WHOLE)
        if not state and shown != WHOLE:
            raise self.error("parts: of a small explorer, which has a state")
        place = self.env.docname.replace("/", "-")
        name = f"{place}-{self.env.new_serialno('explorer')}-"
        try:
            svg, words = still(state, shown, name)
        except ValueError as error:
            raise self.error(str(error)) from None
        picture = svg.replace(
            "<svg ", f'<svg role="img" aria-label="{html.escape(words)}" ', 1
        )
        address = html.escape(state)
        settings = "data-address"
        if state:
            settings = f'data-state="{address}" data-parts="{shown}"'
        block = explorer(classes=["explorer-small"] if state else [])
        self.state.nested_parse(self.content, self.content_offset, block)
        block += nodes.raw(
            "",
            "<noscript><p>It needs JavaScript. This is what it opens with."
            f"</p>{picture}</noscript>"
            f'<div class="explorer" {settings}></div>',
            format="html",
        )
        if state:
            root = "../" * self.env.docname.count("/")
            link = f"{root}{PAGE}.html#{address}"
            block += nodes.raw(
                "",
                f'<p><a href="{link}">Open this stack in the explorer</a></p>',
                format="html",
            )
        return [block]


def load(app: Sphinx, page, template, context, doctree) -> None:
    """Let the pages that have an explorer load its scripts, and no others."""
    found = [*doctree.findall(explorer)] if doctree is not None else []
    if not found:
        return
    small = all("explorer-small" in one["classes"] for one in found)
    for name in SCRIPTS:
        if not (small and name in WHOLE_ONLY):
            app.add_js_file(f"explorer/{name}.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    visit = (
        lambda translator, node: translator.visit_container(node),
        lambda translator, node: translator.depart_container(node),
    )
    app.add_node(explorer, html=visit)
    app.add_directive("explorer", Explorer)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
