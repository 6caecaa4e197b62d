"""The glossary stands in sections by letter, and its contents list them."""

import subprocess
import sys
from pathlib import Path

from bs4 import BeautifulSoup

EXTENSIONS = Path(__file__).parents[2] / "sphinxext"
CONF = f"""import sys
sys.path.append({str(EXTENSIONS)!r})
extensions = ["myst_parser", "letters", "terms"]
html_theme = "basic"
html_sidebars = {{"**": ["localtoc.html"]}}
"""
PAGE = """# Words

At a rate.

```{glossary}
HDC
hybrid rates
    Mixed rates.

rate
    A step.

r-grid
    Frequencies.
```

After it.
"""


def test_a_glossary_is_divided(tmp_path):
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "index.md").write_text(PAGE)
    command = [sys.executable, "-m", "sphinx", "-qWn", ".", "out"]
    subprocess.run(command, cwd=tmp_path, check=True)
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser")
    sections = soup.select("section section")
    assert [one["id"] for one in sections] == ["letter-h", "letter-r"]
    assert [
        [term.get_text().rstrip("\u00b6#") for term in one.select("dt")]
        for one in sections
    ] == [["HDC", "hybrid rates"], ["rate", "r-grid"]]
    contents = soup.select(".sphinxsidebar a[href^='#letter-']")
    assert [link.get_text() for link in contents] == ["H", "R"]
    assert "After it." in soup.select_one("section").get_text()


def test_the_contents_of_the_glossary_are_its_letters(site):
    text = (site / "book/glossary.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser")
    letters = [one.get_text() for one in soup.select(".page-toc a")]
    assert letters == sorted(set(letters))
    assert len(letters) == len(soup.select("dl.glossary")) > 15
    for one in soup.select("article section[id^=letter-]"):
        names = [dt.get_text() for dt in one.select("dd + dt, dt:first-child")]
        assert {name[0].lower() for name in names} == {one["id"][-1]}
