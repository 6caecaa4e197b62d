"""What pages load besides their text: one style sheet, and few icons.

The style sheets that every page loads become one, because a phone waits for
each of them; of its rules and of the theme's icon fonts, what pages can use
is kept.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path

import tinycss2
from fontTools import subset
from sphinx.errors import ExtensionError

BUNDLE = "bundle.css"
CLASSES = re.compile(r'\bclass="([^"]*)"')
WORD = re.compile(r"\b[a-zA-Z][\w-]*")
ICON = re.compile(r'(?<=").(?=")')
FACE = (
    r'url\(([^()]*/{}\.)woff2\) format\("woff2"\),'
    r'url\([^()]*\.ttf\) format\("truetype"\)'
)
LINK = re.compile(r'\s*<link\b[^>]*\brel="stylesheet"[^>]*>')
HREF = re.compile(r'\bhref="((?:\.\./)*)_static/([^"?]+)[^"]*"')
IMPORT = re.compile(r'@import "([^"]+)";')
URL = re.compile(r"""url\((["']?)(?!data:)([^"')#]+)\1\)""")


def digest(text: str) -> str:
    """Name a text by eight digits: an address that browsers keep long."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def subset_icons(static: Path) -> None:
    """Keep of the icon fonts in `static` the glyphs that its sheet draws.

    Raises:
        ExtensionError: If the sheet names no such font.
    """
    sheet = static / BUNDLE
    style = sheet.read_text(encoding="utf-8")
    icons = "".join(sorted(set(ICON.findall(style))))
    version = digest(icons)
    fonts = static / "vendor" / "fontawesome" / "webfonts"
    for source in sorted(fonts.glob("*.ttf")):
        face = FACE.format(re.escape(source.stem))
        kept = rf'url(\1woff?v={version}) format("woff")'
        style, found = re.subn(face, kept, style)
        if not found:
            raise ExtensionError(f"{sheet.name} does not name {source.name}")
        options = subset.Options(flavor="woff", hinting=False)
        with subset.load_font(str(source), options) as font:
            subsetter = subset.Subsetter(options)
            subsetter.populate(text=icons)
            subsetter.subset(font)
            target = str(source.with_suffix(".woff"))
            subset.save_font(font, target, options)
        source.unlink()
        source.with_suffix(".woff2").unlink()
    sheet.write_text(style, encoding="utf-8")


def names(pages: Iterable[str], scripts: Iterable[str]) -> set[str]:
    """Classes that pages have, and words of which scripts may make some."""
    found = set()
    for page in pages:
        found.update(*map(str.split, CLASSES.findall(page)))
    for script in scripts:
        found.update(WORD.findall(script))
    return found


def pruned(style: str, known: set[str]) -> str:
    """Return a style sheet without the rules that match nothing.

    Such a rule needs a class that is not among `known`. A class is known,
    too, if its start is, up to a hyphen: scripts write "tooltip-" + side.
    Of comments, those about licences stay.

    Raises:
        ExtensionError: If the sheet is broken; says in which line.
    """
    starts = tuple(name for name in known if name.endswith("-"))

    def unknown(name):
        return name not in known and not name.startswith(starts)

    def is_unused(prelude):
        selectors = [False]
        for before, token in itertools.pairwise([None, *prelude]):
            if token == ",":
                selectors.append(False)
            elif before == "." and token.type == "ident":
                selectors[-1] |= unknown(token.value)
        return all(selectors)

    def useless(rule):
        if rule.type == "comment":
            return "licen" not in rule.value.lower()
        return rule.type == "qualified-rule" and is_unused(rule.prelude)

    def used_rules(rules):
        for rule in rules:
            if rule.type == "error":
                raise ExtensionError(
                    f"{BUNDLE}, line {rule.source_line}: {rule.message}"
                )
            if rule.type == "at-rule" and rule.lower_at_keyword == "media":
                inner = tinycss2.parse_rule_list(rule.content)
                rule.content = [*used_rules(inner)]
            if not useless(rule):
                yield rule

    rules = tinycss2.parse_stylesheet(style, skip_whitespace=True)
    return tinycss2.serialize(used_rules(rules))


def inline_sheet(sheet: Path, target: Path) -> str:
    """Take a sheet away; return its rules as they read in `target`.

    What it imports comes along.
    """
    style = sheet.read_text(encoding="utf-8-sig")
    sheet.unlink()

    def relative(match):
        path = os.path.relpath(sheet.parent / match[2], target)
        return f"url({Path(path).as_posix()})"

    style = URL.sub(relative, style)
    return IMPORT.sub(
        lambda m: inline_sheet(sheet.parent / m[1], target), style
    )


def bundle(static: Path, pages: list[str]) -> list[str]:
    """Make one sheet of those that all `pages` load; return new pages.

    It holds the rules that they and the scripts in `static` can use.
    """
    linked = [
        [href[2] for link in LINK.findall(page) if (href := HREF.search(link))]
        for page in pages
    ]
    shared = [
        name for name in linked[0] if all(name in names for names in linked)
    ]
    scripts = (path.read_text("utf-8") for path in static.rglob("*.js"))
    rules = pruned(
        "\n".join(inline_sheet(static / name, static) for name in shared),
        names(pages, scripts),
    )
    (static / BUNDLE).write_text(rules, encoding="utf-8")
    version = digest(rules)

    def rewrite(page):
        first = True

        def link(match):
            nonlocal first
            href = HREF.search(match[0])
            if not href or href[2] not in shared:
                return match[0]
            if not first:
                return ""
            first = False
            return (
                f'\n    <link rel="stylesheet" href="{href[1]}_static/'
                f'{BUNDLE}?v={version}" />'
            )

        return LINK.sub(link, page)

    return [rewrite(page) for page in pages]
