"""Buttons that lead to a repository, once there is one.

With `repository_url` empty none is shown: the theme's would lead to another
project. With it, pages link to their source, and chapters open on Binder,
which installs the package from pyproject.toml. Not on Colab: it would open a
notebook without the package that it imports.
"""

from sphinx.application import Sphinx
from sphinx.config import Config

BINDER = "https://mybinder.org"


def options(given: dict) -> dict:
    """Complete the theme's options by what its `repository_url` allows."""
    there = bool(given.get("repository_url"))
    launch = {"binderhub_url": BINDER, "notebook_interface": "jupyterlab"}
    return {
        **given,
        "use_repository_button": there,
        "use_issues_button": there,
        "path_to_docs": "",
        "launch_buttons": launch if there else {},
    }


def configure(app: Sphinx, config: Config) -> None:
    """Set the buttons before the theme reads them."""
    config.html_theme_options = options(config.html_theme_options)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx, before the theme."""
    app.connect("config-inited", configure, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
