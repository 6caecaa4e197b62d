"""The first use of a term on a page leads to its entry in the glossary.

The terms are those of `glossary` directives: several lines of terms over
one definition are synonyms. Only running prose is linked, which is a list of
allowed parents: no title, link, code, formula, caption, table header,
quotation or output of a cell.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PROSE = (
    nodes.section,
    nodes.paragraph,
    nodes.bullet_list,
    nodes.enumerated_list,
    nodes.list_item,
    nodes.definition_list,
    nodes.definition_list_item,
    nodes.definition,
    nodes.table,
    nodes.tgroup,
    nodes.tbody,
    nodes.row,
    nodes.entry,
    nodes.emphasis,
    nodes.strong,
)
QUOTED = r"“[^”]*”|\"[^\"]*\""


def plural(term: str) -> str:
    """The plural of a term; of `field of view`, that of `field`."""
    head, of, rest = term.partition(" of ")
    if re.search(r"[^aeiou]y$", head):
        head = f"{head[:-1]}ies"
    else:
        head += "es" if re.search(r"(s|x|z|ch|sh)$", head) else "s"
    return head + of + rest


def either_case(form: str) -> str:
    """A pattern for a form: a first letter in either case, unless `ASPP`."""
    words = r"\s+".join(map(re.escape, form.split()))
    if not form[:1].isalpha() or re.match(r"\w[A-Z]", form):
        return words
    first = form[0]
    return f"[{first.lower()}{first.upper()}]" + words[1:]


@lru_cache
def finder(
    terms: tuple[str, ...], other: tuple[str, ...]
) -> tuple[re.Pattern, dict[str, str]]:
    """A pattern, longest form first, and the term behind each form.

    Phrases of `other`, in which a term means something else, and quotations
    match, too, but have no term.
    """
    forms = {form: term for term in terms for form in (plural(term), term)}
    phrases = {form for phrase in other for form in (plural(phrase), phrase)}
    ordered = sorted({*forms, *phrases}, key=len, reverse=True)
    choice = "|".join(map(either_case, ordered))
    return re.compile(rf"{QUOTED}|(?<![\w-])(?:{choice})(?![\w-])"), forms


def term_of(found: str, forms: dict[str, str]) -> str | None:
    """The term that a piece of text is a form of."""
    words = " ".join(found.split())
    return forms.get(words) or forms.get(words[:1].swapcase() + words[1:])


def collect(app: Sphinx, env: BuildEnvironment) -> Iterable[str]:
    """Note all terms; if they changed, every page is written again.

    `env.terms` maps a term to its entry (one for all synonyms), its page
    and its anchor.
    """
    pages = {
        page
        for _, _, kind, page, *_ in env.get_domain("std").get_objects()
        if kind == "term"
    }
    terms = {}
    for page in sorted(pages):
        for glossary in env.get_doctree(page).findall(addnodes.glossary):
            for entry in glossary.findall(nodes.definition_list_item):
                names = list(entry.findall(nodes.term))
                for name in names:
                    terms[name.astext()] = (
                        names[0]["ids"][0],
                        page,
                        name["ids"][0],
                    )
    changed = terms != getattr(env, "terms", None)
    env.terms = terms
    return env.found_docs if changed else []


def in_raw_link(text: nodes.Text) -> bool:
    """Whether HTML before a text has opened a link and not closed it."""
    before = text.parent.children[: text.parent.index(text)]
    raw = "".join(
        node.astext() for node in before if isinstance(node, nodes.raw)
    )
    return raw.count("<a ") > raw.count("</a>")


def prose(doctree: nodes.document) -> Iterator[nodes.Text]:
    """The texts whose parents are all running prose, and in no raw link."""
    for text in doctree.findall(nodes.Text):
        node = text.parent
        while isinstance(node, PROSE):
            node = node.parent
        if node is doctree and not in_raw_link(text):
            yield text


def join_lines(doctree: nodes.document) -> None:
    """Make one text of the lines of a paragraph; MyST keeps them apart."""
    for parent in {text.parent for text in prose(doctree)}:
        joined = []
        for child in parent.children:
            if (
                joined
                and isinstance(child, nodes.Text)
                and isinstance(joined[-1], nodes.Text)
            ):
                child = nodes.Text(joined.pop() + child)
            joined.append(child)
        parent[:] = joined


def link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Link the first use of each entry in the prose of a page."""
    terms = app.env.terms
    if any(page == home for _, home, _ in terms.values()):
        return
    pattern, forms = finder(tuple(terms), tuple(app.config.terms_other))
    linked = set()
    join_lines(doctree)
    for text in list(prose(doctree)):
        parts, end = [], 0
        for match in pattern.finditer(text):
            name = term_of(match[0], forms)
            if name is None:
                continue
            entry, home, anchor = terms[name]
            if (home, entry) in linked:
                continue
            linked.add((home, entry))
            uri = app.builder.get_relative_uri(page, home)
            parts += [
                nodes.Text(text[end : match.start()]),
                nodes.reference(
                    "",
                    match[0],
                    internal=True,
                    refuri=f"{uri}#{anchor}",
                    classes=["term"],
                ),
            ]
            end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_config_value("terms_other", [], "env", [list])
    app.connect("env-updated", collect)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
