"""The block that says how a chapter is run, and the archive to run it from.

```{run}
Which cells to change for a bigger run.
```

What a run takes is read from chapters/costs.json, which `make costs` writes.
"""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

ARCHIVE = "dilated-convolution"
COSTS = "chapters/costs.json"
# What is built or installed, where no git can tell.
LEFT_OUT = {"_build", "__pycache__", "node_modules"}
DATE = (1980, 1, 1, 0, 0, 0)  # two archives of one commit are equal


def cost(costs: dict, name: str) -> list[str]:
    """One sentence for each device that a chapter was measured on."""
    lines = []
    for device in ("CPU", "GPU"):
        if name not in costs.get(device, {}):
            continue
        found = costs[device][name]
        minutes = found["seconds"] / 60
        lines.append(
            f"{device}: {minutes:.1f} minutes and {found['gib']:.1f} GiB, "
            f"measured on {found['machine']}."
        )
    return lines or ["Not measured yet; `make costs` does it."]


class Run(SphinxDirective):
    """Download, three lines, cost, and what to change."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the block; the text of the directive comes last."""
        self.assert_has_content()
        path = Path(self.env.doc2path(self.env.docname))
        costs = Path(self.env.srcdir, COSTS)
        self.env.note_dependency(str(costs))
        found = json.loads(costs.read_text(encoding="utf-8"))
        root = "../" * self.env.docname.count("/")
        source = f"{root}_sources/{self.env.docname}.ipynb"
        links = (
            f'<a href="{source}" download>Download this notebook</a>, or '
            f'<a href="{root}{ARCHIVE}.zip" download>the whole book as '
            "source</a>, which is what the notebook runs in:"
        )
        block = nodes.container()
        block += nodes.paragraph("", "", nodes.raw("", links, format="html"))
        lines = (
            f"unzip {ARCHIVE}.zip && cd {ARCHIVE}\n"
            "make lab    # installs into .venv, opens the chapters\n"
            f"# open {path.stem}.ipynb, and run all cells"
        )
        block += nodes.literal_block(lines, lines, language="bash")
        items = nodes.bullet_list()
        for line in cost(found, path.stem):
            item = nodes.list_item()
            content, _ = self.state.inline_text(line, self.lineno)
            item += nodes.paragraph("", "", *content)
            items += item
        block += items
        self.state.nested_parse(self.content, self.content_offset, block)
        opening = (
            '<details class="run-it admonition"><summary>Run this chapter'
            "</summary>"
        )
        return [
            nodes.raw("", opening, format="html"),
            block,
            nodes.raw("", "</details>", format="html"),
        ]


def built(folder: str) -> bool:
    """Whether a folder of this name holds what is built or installed."""
    return (
        folder in LEFT_OUT
        or folder.endswith(".egg-info")
        or (folder.startswith(".") and folder not in {".ci", ".github"})
    )


def files(root: Path) -> list[Path]:
    """What a reader needs: what git holds, or all that is not built."""
    listed = None
    if (root / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", "-z"]
        listed = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False
        )
    if listed and listed.returncode == 0:
        found = [root / name for name in listed.stdout.split("\0") if name]
    else:
        found = [
            path
            for path in root.rglob("*")
            if not any(map(built, path.relative_to(root).parts[:-1]))
        ]
    return sorted(path for path in found if path.is_file())


def pack(root: Path, target: Path) -> None:
    """Write the archive of `root`.

    Raises:
        ExtensionError: If there is nothing to pack.
    """
    paths = files(root)
    if not paths:
        raise ExtensionError(f"{root}: no files to put into {target.name}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            name = (Path(ARCHIVE) / path.relative_to(root)).as_posix()
            entry = zipfile.ZipInfo(name, DATE)
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def copy_without_outputs(path: Path, target: Path) -> None:
    """Copy a notebook that is there to be run.

    The page shows the outputs, and the archive has them.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


def ship(app: Sphinx, exception: Exception | None) -> None:
    """Put the archive beside the pages, and the notebooks in order."""
    if exception is not None or app.builder.name != "html":
        return
    out, root = Path(app.outdir), Path(app.srcdir)
    for document in app.env.found_docs:
        path = root / f"{document}.ipynb"
        if path.exists():
            target = out / "_sources" / f"{document}.ipynb"
            copy_without_outputs(path, target)
    pack(root, out / f"{ARCHIVE}.zip")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_directive("run", Run)
    app.connect("build-finished", ship)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
