"""Docstrings are plain text, as they are read in code; pages show them so.

Before Sphinx reads one, the signs that would be markup are escaped, all but
single backticks, and an indented formula becomes a literal block.
"""

import re
from dataclasses import MISSING, fields, is_dataclass

from sphinx.application import Sphinx

MARKUP = re.compile(r"[|*\\]|(?<=\w)_(?!\w)")
QUOTED = re.compile(r"`[^`]+`(?=\w)")
NAMED = re.compile(r"<(?:function|class) '?(?:\w+\.)*(\w+)'?>")


def escaped(line: str) -> str:
    """Return a line whose signs outside backticks are no markup."""
    parts = line.split("`")
    parts[::2] = (MARKUP.sub(r"\\\g<0>", part) for part in parts[::2])
    # Markup ends before a letter only if an escaped blank stands there.
    return QUOTED.sub(r"\g<0>\\ ", "`".join(parts))


def plain(lines: list[str]) -> list[str]:
    """Return the reStructuredText that shows `lines` as they are."""
    result: list[str] = []
    before, formula = "", False  # the last line that is not blank
    for number, line in enumerate(lines):
        if line.strip():
            indented = line.startswith("    ")
            after_blank = number > 0 and not lines[number - 1].strip()
            if indented and after_blank and before[:1].strip():
                result += ["::", ""]
                formula = True
            formula = formula and indented
            before = line
        result.append(line if formula else escaped(line))
    return result


def process(app: Sphinx, what, name, obj, options, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place."""
    lines[:] = plain(lines)


def name_defaults(
    app: Sphinx, what, name, obj, options, signature: str | None, returned
) -> tuple[str, str] | None:
    """Show a default that is a function or a class by its name.

    A default that is made anew for each instance is shown as the call that
    makes it: Sphinx cannot read "<factory>", and then leaves all as it is.
    """
    if signature is None:
        return None
    for field in fields(obj) if is_dataclass(obj) else ():
        if field.default_factory is not MISSING:
            call = f"{field.default_factory.__name__}()"
            signature = signature.replace("<factory>", call, 1)
    return NAMED.sub(r"\1", signature), returned


def skip(app: Sphinx, what, name, obj, skipped, options) -> bool | None:
    """Leave out fields of named tuples, which their class describes."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict:
    """Register with Sphinx, before napoleon."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", name_defaults)
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
