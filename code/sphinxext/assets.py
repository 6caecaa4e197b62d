"""What pages load besides their text: one style sheet, and few icons.

Of the theme's icon fonts the glyphs that pages use are kept, and the style
sheets that every page loads become one: a phone waits for each of them.
"""

import hashlib
import os
import re
from pathlib import Path

from fontTools import subset
from sphinx.errors import ExtensionError

BUNDLE = "bundle.css"
ICON = re.compile(r"\bfa-([a-z0-9-]+)")
RULE = re.compile(r"((?:\.fa-[a-z0-9-]+:before,?)+)\{content:\"\\([0-9a-f]+)")
VARIABLE = re.compile(r'--pst-icon-[a-z-]+:"(?:\\([0-9a-f]+)|(.))"')
FACE = (
    r'url\(([^()]*/{}\.)woff2\) format\("woff2"\),'
    r'url\([^()]*\.ttf\) format\("truetype"\)'
)
LINK = re.compile(r'\s*<link\b[^>]*\brel="stylesheet"[^>]*>')
HREF = re.compile(r'\bhref="((?:\.\./)*)_static/([^"?]+)[^"]*"')
IMPORT = re.compile(r'@import "([^"]+)";')
URL = re.compile(r"""url\((["']?)(?!data:)([^"')#]+)\1\)""")


def icons(style: str, used: set[str]) -> set[int]:
    """Code points of the icons that pages name or the style sheet draws."""
    points = set()
    for selectors, point in RULE.findall(style):
        if used & set(ICON.findall(selectors)):
            points.add(int(point, 16))
    for escaped, literal in VARIABLE.findall(style):
        points.add(int(escaped, 16) if escaped else ord(literal))
    return points


def subset_icons(static: Path, pages: list[str]) -> None:
    """Keep of the icon fonts in `static` the glyphs that `pages` use.

    Raises:
        ExtensionError: If the theme's style sheet names no such font.
    """
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    style = sheet.read_text(encoding="utf-8")
    used = set().union(*(ICON.findall(page) for page in pages))
    points = icons(style, used)
    fonts = static / "vendor" / "fontawesome" / "webfonts"
    for source in sorted(fonts.glob("*.ttf")):
        face = FACE.format(re.escape(source.stem))
        style, found = re.subn(face, r'url(\1woff) format("woff")', style)
        if not found:
            raise ExtensionError(f"{sheet.name} does not name {source.name}")
        options = subset.Options(flavor="woff", hinting=False)
        with subset.load_font(str(source), options) as font:
            subsetter = subset.Subsetter(options)
            subsetter.populate(unicodes=points & set(font.getBestCmap()))
            subsetter.subset(font)
            target = str(source.with_suffix(".woff"))
            subset.save_font(font, target, options)
        source.unlink()
        source.with_suffix(".woff2").unlink()
    sheet.write_text(style, encoding="utf-8")


def moved(sheet: Path, target: Path) -> str:
    """Return a sheet's rules as they read in the folder `target`.

    What it imports comes along.
    """
    style = sheet.read_text(encoding="utf-8-sig")

    def relative(match):
        path = os.path.relpath(sheet.parent / match[2], target)
        return f"url({Path(path).as_posix()})"

    style = URL.sub(relative, style)
    return IMPORT.sub(lambda m: moved(sheet.parent / m[1], target), style)


def bundle(static: Path, pages: list[str]) -> list[str]:
    """Make one sheet of those that all `pages` load; return new pages."""
    linked = [
        [href[2] for link in LINK.findall(page) if (href := HREF.search(link))]
        for page in pages
    ]
    shared = [
        name for name in linked[0] if all(name in names for names in linked)
    ]
    rules = "\n".join(moved(static / name, static) for name in shared)
    (static / BUNDLE).write_text(rules, encoding="utf-8")
    version = hashlib.sha256(rules.encode()).hexdigest()[:8]

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

    for name in shared:
        (static / name).unlink()
    return [rewrite(page) for page in pages]
