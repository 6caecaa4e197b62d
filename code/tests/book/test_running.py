"""How a chapter is run: the block, the archive, the workflows, the buttons."""

import json
import re
import shutil
import subprocess
import zipfile

import pytest
import yaml
from bs4 import BeautifulSoup

import running
from built_site import ROOT, SITE

CHAPTERS = sorted((SITE / "chapters").glob("*.html"))
COSTS = json.loads((ROOT / running.COSTS).read_text())
built = pytest.mark.usefixtures("site")


def test_cost_says_what_was_measured_and_what_was_not():
    costs = {"CPU": {"a": {"seconds": 90, "gib": 2.26, "machine": "M"}}}
    assert running.cost(costs, "a") == [
        "CPU: 1.5 minutes and 2.3 GiB, measured on M.",
    ]
    assert running.cost(costs, "b")[0].startswith("Not measured")


def test_every_chapter_was_measured():
    names = {path.stem for path in (ROOT / "chapters").glob("*.ipynb")}
    assert set(COSTS["CPU"]) == names
    for found in COSTS["CPU"].values():
        assert found["seconds"] > 5
        assert found["gib"] > 0.3


@built
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_says_how_it_is_run(path):
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    (block,) = soup.select(".run-it")
    notebook, archive = block.select("a[download]")
    given = json.loads((path.parent / notebook["href"]).read_text())
    stored = ROOT / "chapters" / f"{path.stem}.ipynb"
    kept = json.loads(stored.read_text())
    assert [cell["source"] for cell in given["cells"]] == [
        cell["source"] for cell in kept["cells"]
    ]
    assert not any(cell.get("outputs") for cell in given["cells"])
    assert (path.parent / archive["href"]).exists()
    text = block.get_text()
    assert running.cost(COSTS, path.stem)[0] in text
    assert len(block.pre.get_text().strip().splitlines()) == 3
    # The names that are to be changed are in the cells.
    code = "".join(
        "".join(cell["source"])
        for cell in given["cells"]
        if cell["cell_type"] == "code"
    )
    names = [
        tag.get_text() for tag in block.find_all("p")[-1].find_all("code")
    ]
    assert names
    for name in names:
        assert re.sub(r"\W+$", "", name) in code, name


@built
def test_the_archive_holds_what_git_holds(tmp_path):
    with zipfile.ZipFile(SITE / f"{running.ARCHIVE}.zip") as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path)
    root = tmp_path / running.ARCHIVE
    for name in ("Makefile", "requirements.lock", "chapters/drn.ipynb"):
        assert (root / name).read_bytes() == (ROOT / name).read_bytes()
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        there = {n for n in listed.split("\0") if n and (ROOT / n).exists()}
        assert names == {f"{running.ARCHIVE}/{name}" for name in there}
    # Without git, the same files are found.
    assert {p.relative_to(root) for p in running.files(root)} == {
        p.relative_to(root) for p in root.rglob("*") if p.is_file()
    }


def test_what_is_built_stays_out(tmp_path):
    for name in ("a.py", "_build/b", ".venv/c", "d/__pycache__/e", ".ci/run"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [
        p.relative_to(tmp_path).as_posix() for p in running.files(tmp_path)
    ]
    assert found == [".ci/run", "a.py"]
    for target in ("one.zip", "two.zip"):
        running.pack(tmp_path, tmp_path.parent / target)
    one, two = (
        (tmp_path.parent / f"{n}.zip").read_bytes() for n in ("one", "two")
    )
    assert one == two


def test_nothing_to_pack_is_an_error(tmp_path):
    with pytest.raises(running.ExtensionError, match="no files"):
        running.pack(tmp_path, tmp_path / "a.zip")


@built
def test_no_button_leads_elsewhere():
    for path in CHAPTERS:
        text = path.read_text(encoding="utf-8")
        assert "mybinder" not in text
        assert "executablebooks/" not in text


@pytest.mark.parametrize("name", ["test", "pages"])
def test_workflows_call_the_make_targets(name):
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    workflow = yaml.safe_load(path.read_text())
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    runs = [
        step["run"]
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert runs
    for line in runs:
        make, target = line.split()
        assert make == "make"
        assert target in targets
    assert workflow["permissions"] == {"contents": "read"}
