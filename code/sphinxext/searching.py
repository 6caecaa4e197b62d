"""What the search page looks through: sections, terms, and the API's objects.

Sphinx's own index knows which page has a word. This one has a record for
each section, each entry of the glossary and each object of the API, with its
text, so that a result can show the line that was found and lead to it. It is
a script that holds one value, because a page in a folder may load scripts
and nothing else. Only the search page loads it, and makes lunr's index of
it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString, Tag
from bs4.element import PageElement
from sphinx.application import Sphinx

from packaged import file_of

PACKAGE = "mkdocs"  # of which nothing but this file is used
LIBRARY = "lunr.js"
FOLDER = "_static/search"
DATA = "data.js"
SCRIPTS = (LIBRARY, DATA, "search.js")
STYLE = "search.css"
API = "book/api"
# The other sections of these pages repeat what stands elsewhere.
KEPT = {API: {"api"}, "book/results": {"results", "the-ledger"}}
HEADING = re.compile(r"h[1-6]")
INLINE = re.compile("a|abbr|b|cite|code|em|i|kbd|s|span|strong|sub|sup")
SKIPPED = re.compile("button|img|nav|noscript|script|style|summary|svg")
SKIPPED_CLASSES = (
    "admonition-title",
    "autosummary",
    "explorer",
    "headerlink",
    "run-it",
)
# Of code, only what looks like a name that somebody gave.
NAME = re.compile(r"\b(?=\w*[_A-Z])[^\W\d]\w{2,}")
# Half of lunr explains it. What begins with /*! says whose it is, and stays.
COMMENT = re.compile(r"^ *(/\*\*\n.*?\*/|//.*?)\n", re.DOTALL | re.MULTILINE)
# Stands around formulas: what the page shows of one is not this text.
FORMULA = "\N{INVISIBLE SEPARATOR}"
# Stands around links until it is known whether one is a sentence of its own
# at the end of a paragraph: that says where to read on, not what is so.
LINK = "\N{INVISIBLE TIMES}"
POINTER = re.compile(
    rf"(?:^|(?<=[.?!])) *(?:There is more in )?{LINK}[^{LINK}]*{LINK}\.?$"
)


@dataclass
class Record:
    """What one result leads to: a section, a term, or an object of the API.

    Attributes:
        kind: "section", "term" or "api".
        place: The page and, after "#", where on it.
        name: Its heading; of a term all its names.
        path: The headings above it, the page's first.
        text: Its paragraphs, without those of records inside it.
        code: Names in its code, and in the tables that code printed.
    """

    kind: str
    place: str
    name: str
    path: list[str]
    text: list[str] = field(default_factory=list)
    code: dict[str, None] = field(default_factory=dict)

    def packed(self) -> list:
        """What the page's script reads, in this order."""
        text, code = "\n".join(self.text), " ".join(self.code)
        return [self.kind, self.place, self.name, self.path, text, code]


def has(tag: Tag, name: str) -> bool:
    """Whether a tag is of a class."""
    return name in tag.get("class", ())


def skipped(node: PageElement) -> bool:
    """Whether a part of a page holds nothing that a reader looks for."""
    if isinstance(node, NavigableString):
        return type(node) is not NavigableString  # a comment
    return bool(SKIPPED.fullmatch(node.name)) or any(
        has(node, name) for name in SKIPPED_CLASSES
    )


def words(node: PageElement) -> str:
    """The text of what stands in a line."""
    if skipped(node):
        return ""
    if isinstance(node, NavigableString):
        return str(node)
    if has(node, "katex"):
        # As it was typed where that is plain, else as it is shown.
        text = node.find("annotation").get_text()
        if "\\" in text:
            text = node.select_one(".katex-html").get_text()
        return FORMULA + text + FORMULA
    text = "".join(map(words, node.children))
    return LINK + text + LINK if node.name == "a" else text


def name_of(tag: Tag) -> str:
    """The words of a heading or a term, formulas as any other."""
    return " ".join(re.sub(f"{FORMULA}|{LINK}", "", words(tag)).split())


def names_in(tag: Tag) -> dict[str, None]:
    """The names in code or a table, each once, in their order."""
    return dict.fromkeys(NAME.findall(tag.get_text(" ")))


class Reader:
    """Reads one page into records.

    Args:
        page: Its name, as in "book/index".
    """

    def __init__(self, page: str):
        self.page = page
        self.kind = "api" if page.startswith(API) else "section"
        self.records = []

    def read(self, article: Tag) -> list[Record]:
        """Return the records of a page, in its order.

        Headings without a text of their own are only in the others' paths.
        """
        path = ["API"] if self.page.startswith(f"{API}/") else []
        for section in article.find_all("section", recursive=False):
            self.section(section, path)
        return [
            one
            for one in self.records
            if one.text or one.code or one.kind != "section"
        ]

    def add(self, kind: str, anchor: str, name: str, path: list) -> Record:
        """Begin a record; a page's first leads to the page's top."""
        anchor = f"#{anchor}" if self.records else ""
        place = f"{self.page}.html{anchor}"
        self.records.append(Record(kind, place, name, path))
        return self.records[-1]

    def section(self, tag: Tag, path: list[str]) -> None:
        """Read a section and those inside it."""
        if tag["id"] not in KEPT.get(self.page, {tag["id"]}):
            return
        name = name_of(tag.find(HEADING, recursive=False))
        self.fill(self.add(self.kind, tag["id"], name, path), tag)

    def fill(self, record: Record, tag: Tag) -> None:
        """Give a record the text of a tag, and begin those inside the tag."""
        line = []
        for child in [*tag.children, None]:
            if isinstance(child, NavigableString) or (
                child is not None and INLINE.fullmatch(child.name)
            ):
                line.append(words(child))
                continue
            text = POINTER.sub("", " ".join("".join(line).split()))
            if text := text.replace(LINK, "").strip():
                record.text.append(text)
            line = []
            if child is None or skipped(child) or HEADING.match(child.name):
                continue
            self.block(record, child)

    def block(self, record: Record, tag: Tag) -> None:
        """Read what is not in a line into a record, or into its own."""
        printed = tag.find_parent(class_="cell_output")
        if tag.name == "section":
            self.section(tag, [*record.path, record.name])
        elif tag.name == "dl" and (has(tag, "glossary") or has(tag, "py")):
            self.definitions(record, tag)
        elif tag.name == "table" and printed:
            record.code |= names_in(tag)
        elif tag.name == "pre":
            if not printed:
                record.code |= names_in(tag)
        else:
            self.fill(record, tag)

    def definitions(self, record: Record, tag: Tag) -> None:
        """Read the entries of a glossary, or an object of the API."""
        path, terms = [*record.path, record.name], []
        if has(tag, "glossary"):
            path = path[:1]  # without the letter
        for child in tag.find_all(["dt", "dd"], recursive=False):
            if child.name == "dt":
                terms.append(child)
                continue
            anchor = terms[0]["id"]
            if has(tag, "glossary"):
                name = " · ".join(map(name_of, terms))
                found = self.add("term", anchor, name, path)
            else:
                module = tag.find_parent(id=re.compile("^module-"))["id"]
                prefix = module.removeprefix("module-") + "."
                name = anchor.removeprefix(prefix)
                found = self.add("api", anchor, name, path)
                for part in terms[0].select(".sig-param"):
                    found.code |= names_in(part)
            self.fill(found, child)
            terms = []


def records(out: Path) -> Iterator[Record]:
    """Yield the records of all built pages."""
    for path in sorted(out.rglob("*.html")):
        page = path.relative_to(out).with_suffix("").as_posix()
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        if article := soup.select_one("article.bd-article"):
            yield from Reader(page).read(article)


def put(soup: BeautifulSoup) -> None:
    """Let the search page load what it searches, and what searches."""
    for name in SCRIPTS:
        tag = soup.new_tag("script", src=f"{FOLDER}/{name}", defer="defer")
        soup.head.append(tag)
    sheet = f"{FOLDER}/{STYLE}"
    soup.head.append(soup.new_tag("link", rel="stylesheet", href=sheet))
    # Style sheets know what they call so, and hide its headings.
    soup.find(id="search-results")["id"] = "found"


def ship(app: Sphinx, exception: Exception | None) -> None:
    """Write the records, and change the search page to search them."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    found = [record.packed() for record in records(out)]
    value = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    data = out / FOLDER / DATA
    data.write_text(f"const searchData = {value};\n", encoding="utf-8")
    licence, end, code = (
        file_of(PACKAGE, LIBRARY).read_text("utf-8").partition("*/")
    )
    code = licence + end + COMMENT.sub("", code)
    (out / FOLDER / LIBRARY).write_text(code, encoding="utf-8")
    page = out / "search.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    put(soup)
    page.write_text(str(soup), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    # After `finishing`, whose pages it reads.
    app.connect("build-finished", ship, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
