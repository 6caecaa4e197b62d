"""Where a file of an installed package lies.

Scripts and fonts of the site come from packages of assets.lock, of which the
book uses nothing else.
"""

from importlib import metadata
from pathlib import Path

from sphinx.errors import ExtensionError


def file_of(package: str, name: str) -> Path:
    """The file of that name.

    Raises:
        ExtensionError: If the package is not installed, or carries it no
            more.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise ExtensionError(
            f"{package} is not installed: see assets.lock"
        ) from None
    for file in files:
        if file.name == name:
            return Path(file.locate())
    raise ExtensionError(f"{package} has no {name}")
