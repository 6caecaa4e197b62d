"""Chapters as notebooks for readers: the authors' text in plain Markdown.

`python code/tools/notebooks.py [NAME ...]` writes chapters/NAME.ipynb from
chapters/NAME.md and the outputs that are stored, by default of every chapter;
`make execute` does the same with new outputs. Each role and directive of the
text becomes what every viewer of notebooks shows: CommonMark with LaTeX. One
without a rule here stops the step and is named.
"""

import argparse
import base64
import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell
from pybtex.database import Entry
from sphinx.config import Config
from sphinx.directives.code import LiteralIncludeReader

from bibliography import authors, entries, plain, web

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "code" / "sphinxext"))
from explorer import still  # noqa: E402
from running import COSTS, cost  # noqa: E402

CHAPTERS = ROOT / "chapters"
FENCE = re.compile(r"^(`{3,})(?:\{([\w-]+)\})?(.*)$")
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
NUMBERED = re.compile(r"^\$\$ \(([\w-]+)\)$")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(<?([^)>]+)>?\)")
KERNEL = {
    "display_name": "Python 3",
    "language": "python",
    "name": "python3",
}
# What a reader needs who has only this file.
NEEDS = """\
# This notebook is a chapter of the book "Dilated convolution, paper by paper"
# and needs its package, atrous, which comes with the book: unzip it and type
# `make lab` in its folder, or `pip install .` into an environment of yours.
{install}import importlib.util

if importlib.util.find_spec("atrous") is None:
    raise ModuleNotFoundError(
        "atrous is missing: type `pip install .` in the book's folder, or "
        "open this notebook by `make lab` there"
    )"""


@functools.cache
def settings() -> dict:
    """The book's configuration."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def address() -> str:
    """Where the book is published, ending in a slash, or nothing."""
    found = settings().get("html", {}).get("baseurl", "")
    return found and found.rstrip("/") + "/"


def repository() -> str:
    """Where its source is published, or nothing."""
    return settings().get("repository", {}).get("url", "").rstrip("/")


def entry(key: str) -> Entry:
    """A paper of the book's bibliography."""
    return entries(ROOT / settings()["bibtex_bibfiles"][0])[key]


@functools.cache
def title(document: str) -> str:
    """First heading of a page, such as chapters/operator."""
    text = (ROOT / f"{document}.md").read_text(encoding="utf-8")
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1]


class Chapter:
    """Turns the Markdown of one chapter into CommonMark with LaTeX.

    Args:
        name: Of the chapter, such as operator.
        text: Its notebook, as jupytext reads it.

    Attributes:
        cited: Keys of references.bib in the order of their first citation.
    """

    def __init__(self, name: str, text: nbformat.NotebookNode):
        self.name = name
        self.cited: list[str] = []
        self.figures = 0
        self.attachments: dict[str, dict[str, str]] = {}
        found = (
            label[1]
            for cell in text.cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines()
            if (label := NUMBERED.match(line))
        )
        self.equations = {label: i for i, label in enumerate(found, start=1)}

    def refuse(self, what: str) -> None:
        """Stop at what has no rule.

        Raises:
            ValueError: Always; names the chapter.
        """
        raise ValueError(f"chapters/{self.name}.md: {what} has no rule")

    def markdown(self, source: str) -> str:
        """A cell's text: blocks fence by fence, and lines between them."""
        out, lines = [], iter(source.splitlines())
        for line in lines:
            fence = FENCE.match(line)
            if fence is None:
                out.append(self.line(line))
                continue
            ticks, directive, argument = fence.groups()
            block = []
            for inner in lines:
                if inner.rstrip() == ticks:
                    break
                block.append(inner)
            if directive is None:
                out += [line, *block, ticks]
                continue
            rule = DIRECTIVES.get(directive)
            if rule is None:
                self.refuse(f"the directive {directive!r}")
            options, content = split_options(block)
            out.append(rule(self, argument.strip(), options, content))
        text = "\n".join(out)
        return re.sub(
            r"^\$\$\n(.*?)\n\$\$ \(([\w-]+)\)$",
            lambda found: (
                f"$$\n{found[1]}\n\\tag{{{self.equations[found[2]]}}}\n$$"
            ),
            text,
            flags=re.DOTALL | re.MULTILINE,
        )

    def line(self, line: str) -> str:
        """A line of text, its roles and links."""
        if line.startswith(":::") or re.match(r"^\([\w-]+\)=$", line):
            self.refuse(repr(line))
        return LINK.sub(self.link, ROLE.sub(self.role, line))

    def role(self, found: re.Match) -> str:
        """What a role says."""
        rule = ROLES.get(found[1])
        if rule is None:
            self.refuse(f"the role {found[1]!r}")
        return rule(self, found[2])

    def cite(self, keys: str, form: str) -> str:
        """Citations, each a link to the paper."""
        links = []
        for key in keys.replace(" ", "").split(","):
            paper = entry(key)
            if key not in self.cited:
                self.cited.append(key)
            words = form.format(authors(paper), paper.fields["year"])
            links.append(f"[{words}]({web(paper)})")
        return ", ".join(links)

    def to_document(self, target: str) -> str:
        """A link to a chapter or a page by its title."""
        here = CHAPTERS / target
        document = here.resolve().relative_to(ROOT).as_posix()
        return self.link_to(document, "", title(document))

    def link(self, found: re.Match) -> str:
        """A link to another page of the book, or to anywhere else."""
        words, target = found.groups()
        if re.match(r"\w+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        document = (CHAPTERS / path).resolve().relative_to(ROOT)
        document = document.with_suffix("").as_posix()
        return self.link_to(document, anchor, words or title(document))

    def link_to(self, document: str, anchor: str, words: str) -> str:
        """A neighbouring notebook, the public page, or plain words."""
        folder, _, name = document.rpartition("/")
        anchor = anchor and f"#{anchor}"
        if folder == CHAPTERS.name:
            return f"[{words}]({name}.ipynb{anchor})"
        if address():
            return f"[{words}]({address()}{document}.html{anchor})"
        return f"*{words}*"

    def code(self, path: str, options: dict, content: str) -> str:
        """Quoted code, cut as on the site, under its file's name."""
        known = {"language", "pyobject", "lines", "dedent"}
        if not {*options} <= known or options.get("dedent") or content:
            self.refuse(f"literalinclude with {options}")
        if "dedent" in options:
            options["dedent"] = None  # Sphinx's word for: all of it
        file = (CHAPTERS / path).resolve()
        reader = LiteralIncludeReader(str(file), options, Config())
        text, _ = reader.read()
        where = file.relative_to(ROOT).as_posix()
        return f"```python\n# {where}\n{text.rstrip()}\n```"

    def run(self, argument: str, options: dict, content: str) -> str:
        """What the site's box says on running the chapter."""
        costs = json.loads((ROOT / COSTS).read_text(encoding="utf-8"))
        lines = [f"- {line}" for line in cost(costs, self.name)]
        return "\n".join(
            [
                "**Run it.** All cells from the top, in the book's folder "
                "opened by `make lab`, or wherever its package is installed.",
                "",
                *lines,
                "",
                self.markdown(content),
            ]
        )

    def short(self, argument: str, options: dict, content: str) -> str:
        """What the site's box under the title says."""
        return f"**In short**\n\n{self.markdown(content)}"

    def explorer(self, state: str, options: dict, content: str) -> str:
        """A picture of the explorer's state, and where to change it."""
        number = len(self.attachments)
        picture, words = still(state, options["parts"], f"e{number}-")
        css = ROOT / "book" / "_static" / "explorer" / "picture.css"
        style = f"<style>{css.read_text(encoding='utf-8')}</style>"
        picture = picture.replace(">", f">{style}", 1)
        name = f"explorer-{number}.svg"
        self.attachments[name] = {
            "image/svg+xml": base64.b64encode(picture.encode()).decode()
        }
        page = self.link_to("book/explorer", state, title("book/explorer"))
        return "\n".join(
            [
                f"![{words}](attachment:{name})",
                "",
                f"{self.markdown(content)} The site's page has this state "
                f"to play with: {page}, `{state}`.",
            ]
        )

    def caption(self, cell: nbformat.NotebookNode) -> str | None:
        """Number and caption of a cell's figure, if it has one."""
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure is None:
            return None
        self.figures += 1
        words = " ".join(figure["caption"].split())
        return f"**Figure {self.figures}.** {self.line(words)}"

    def references(self) -> str:
        """The list of what was cited, by author and year."""
        lines = []
        for key in self.cited:
            paper = entry(key)
            fields, people = paper.fields, authors(paper, everyone=True)
            lines.append(
                f"- {people} ({fields['year']}). "
                f"[{plain(fields['title'])}]({web(paper)})."
            )
        lines.sort(key=str.casefold)
        return "\n".join(["## References", "", *lines])


ROLES: dict[str, Callable[[Chapter, str], str]] = {
    "cite:t": lambda chapter, keys: chapter.cite(keys, "{} ({})"),
    "cite:p": lambda chapter, keys: f"({chapter.cite(keys, '{}, {}')})",
    "doc": Chapter.to_document,
    "eq": lambda chapter, label: f"({chapter.equations[label]})",
}
DIRECTIVES = {
    "literalinclude": Chapter.code,
    "run": Chapter.run,
    "short": Chapter.short,
    "explorer": Chapter.explorer,
}


def split_options(block: list[str]) -> tuple[dict[str, str], str]:
    """The options that a directive begins with, and its content."""
    options = {}
    for number, line in enumerate(block):
        found = re.match(r"^:([\w-]+):\s*(.*)$", line)
        if found is None:
            return options, "\n".join(block[number:])
        options[found[1]] = found[2]
    return options, ""


def first_cell() -> nbformat.NotebookNode:
    """Says what the notebook needs, and fails without it."""
    install = f"# %pip install git+{repository()}\n" if repository() else ""
    return new_code_cell(NEEDS.format(install=install))


def edition(name: str, text: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The reader's edition of a chapter's text, without outputs.

    Raises:
        ValueError: If a role or directive has no rule here.
    """
    chapter = Chapter(name, text)
    cells = []
    for cell in text.cells:
        if cell.cell_type == "markdown":
            chapter.attachments = {}
            made = new_markdown_cell(chapter.markdown(cell.source))
            if chapter.attachments:
                made.attachments = chapter.attachments
            cells.append(made)
            if len(cells) == 1:  # the title comes first
                cells.append(first_cell())
            continue
        cells.append(cell)
        if caption := chapter.caption(cell):
            cells.append(new_markdown_cell(caption))
    if chapter.cited:
        cells.append(new_markdown_cell(chapter.references()))
    made = nbformat.v4.new_notebook(cells=cells, metadata=text.metadata)
    made.metadata.pop("jupytext", None)  # it would write over the text
    made.metadata["kernelspec"] = KERNEL
    for number, cell in enumerate(cells, start=1):
        cell.id = f"cell-{number:03}"
    return made


def refresh(name: str) -> None:
    """Write a chapter's notebook anew with the outputs that it has.

    Raises:
        ValueError: If its code is not that of the text, or a role or
            directive has no rule.
    """
    path = CHAPTERS / f"{name}.ipynb"
    made = edition(name, jupytext.read(path.with_suffix(".md")))
    before = nbformat.read(path, as_version=4)
    new, old = (
        [c for c in n.cells if c.cell_type == "code"] for n in (made, before)
    )
    if [cell.source for cell in new] != [cell.source for cell in old]:
        raise ValueError(
            f"chapters/{name}.md has other code than its notebook: make "
            f"execute NAMES={name} runs it"
        )
    for cell, stored in zip(new, old, strict=True):
        cell.outputs = stored.outputs
        cell.execution_count = stored.execution_count
    for part, stored in ((made, before), *zip(new, old, strict=True)):
        if "spread" in stored.metadata:
            part.metadata["spread"] = stored.metadata["spread"]
    nbformat.write(made, path)


def main() -> int:
    """Write the notebooks named on the command line; 1 if one cannot be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    names = names or sorted(path.stem for path in CHAPTERS.glob("*.md"))
    for name in names:
        try:
            refresh(name)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
