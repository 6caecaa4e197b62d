"""The readers' notebooks: nothing raw, and all that the site's pages show."""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.errors import ExtensionError

import notebooks
import stored_outputs

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
RAW = re.compile(
    r"\{[\w:]+\}`|\{(?:cite|doc|eq|ref|run|explorer|literalinclude|code-cell)"
    r"[\w:]*\}|^:[\w-]+:|^:::|^\([\w-]+\)=$|\]\(\)|\[\]\(",
    re.MULTILINE,
)
every_chapter = pytest.mark.parametrize("name", NAMES)


def read(name):
    return nbformat.read(ROOT / "chapters" / f"{name}.ipynb", as_version=4)


def source(name):
    return jupytext.read(ROOT / "chapters" / f"{name}.md")


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def rendered():
    """A notebook as plain Jupyter shows it, without its code cells."""
    exporter, made = HTMLExporter(template_name="basic"), {}

    def render(name):
        if name not in made:
            notebook = read(name)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = []
            page, _ = exporter.from_notebook_node(notebook)
            soup = BeautifulSoup(page, "html.parser")
            made[name] = soup.select(".jp-MarkdownCell, .text_cell_render")
        return made[name]

    return render


@every_chapter
def test_nothing_raw_is_left(name, rendered):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            assert not RAW.search(cell.source), cell.source
    texts = [cell.get_text() for cell in rendered(name)]
    assert len(texts) > 20
    assert not [text for text in texts if RAW.search(text)]


@every_chapter
def test_all_that_the_text_has_is_there(name, rendered):
    """Quotations, captions, citations, links, numbers of equations."""
    page = rendered(name)
    text = "\n".join(cell.get_text() for cell in page)
    own, cells = source(name), read(name).cells
    prose = "\n".join(c.source for c in own.cells if c.cell_type == "markdown")
    links = {link["href"] for cell in page for link in cell.select("a[href]")}
    for number, _ in enumerate(re.findall(r"^\$\$ \(", prose, re.M), start=1):
        assert f"\\tag{{{number}}}" in text
    quoted = re.findall(
        r"literalinclude\} \.\./(\S+)[^`]*?:pyobject: (\S+)", prose
    )
    blocks = [code.get_text() for cell in page for code in cell.select("pre")]
    for file, thing in quoted:
        begins = f"# {file}\n"
        last = re.compile(rf"\b(def|class) {thing.rpartition('.')[2]}\b")
        shown = [block for block in blocks if block.startswith(begins)]
        # Of one thing the beginning is not quoted.
        assert any(map(last.search, shown)) or thing == "C3Block", thing
    own_blocks = [b for b in blocks if b.startswith("# code/")]
    assert len(own_blocks) == len(quoted)
    for block in own_blocks:  # a method stands without its class
        assert not block.splitlines()[1].startswith(" "), block
    captions = [
        words(cell.metadata["mystnb"]["figure"]["caption"])
        for cell in own.cells
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert len(re.findall(r"Figure \d+\. ", text)) == len(captions)
    for key in ",".join(re.findall(r"\{cite:[tp]\}`([^`]+)`", prose)).split(
        ","
    ):
        paper = notebooks.entry(key)
        assert notebooks.web(paper) in links
    for target in re.findall(r"\{doc\}`(\w+)`", prose):
        assert f"{target}.ipynb" in links
    for link in links:
        if not re.match(r"https?://", link):
            assert (ROOT / "chapters" / link.partition("#")[0]).exists(), link
    explorers = prose.count("```{explorer}")
    attached = [name for cell in cells for name in cell.get("attachments", ())]
    assert len(attached) == explorers
    pictures = [i["src"] for cell in page for i in cell.select("img")]
    assert (
        len([p for p in pictures if p.startswith("data:image/svg")])
        == explorers
    )


def test_pages_show_what_notebooks_show():
    if not (ROOT / "_build/done").exists():
        pytest.skip("THE SITE IS NOT BUILT AND NOT CHECKED: run `make book`")
    for name in NAMES:
        page = (ROOT / f"_build/html/chapters/{name}.html").read_text("utf-8")
        soup = BeautifulSoup(page, "html.parser")
        shown = {
            words(code.get_text()) for code in soup.select(".highlight pre")
        }
        for cell in read(name).cells:
            blocks = re.findall(
                r"^```python\n# code/.*\n([^`]+)```", cell.source, re.M
            )
            if cell.cell_type == "markdown":
                assert not {words(block) for block in blocks} - shown
        captions = soup.select("figcaption .caption-text")
        numbers = [
            cell
            for cell in read(name).cells
            if cell.source.startswith("**Figure ")
        ]
        assert len([c for c in captions]) == len(numbers)


SMALL = """# Title

See {cite:t}`chen2017deeplabv3` and {doc}`operator`, {eq}`eq-two`.

$$
a = b
$$ (eq-one)

$$
b = c
$$ (eq-two)

```python
{cite:t}`not a role`
```
"""


def small(*texts):
    return new_notebook(cells=[new_markdown_cell(text) for text in texts])


def test_translation_by_hand():
    made = notebooks.edition("name", small(SMALL))
    text, needs, references = made.cells
    assert text.source.splitlines()[2] == (
        "See [Chen et al. (2017)](https://arxiv.org/abs/1706.05587) and "
        "[The dilated convolution](operator.ipynb), (2)."
    )
    assert "$$\nb = c\n\\tag{2}\n$$" in text.source
    assert "{cite:t}`not a role`" in text.source  # code is code
    assert needs.cell_type == "code"
    assert references.source.startswith("## References\n\n- Chen, Papandreou")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{ref}`label`", "the role 'ref'"),
        ("```{margin}\nx\n```", "the directive 'margin'"),
        (":::note\nx\n:::", "':::note'"),
        ("(label)=\n## Part", r"'\(label\)='"),
        (
            "```{literalinclude} ../code/atrous/zoo.py\n:start-after: x\n```",
            "literalinclude with",
        ),
    ],
)
def test_what_has_no_rule_is_named(text, what):
    with pytest.raises(
        ValueError, match=rf"chapters/name.md: {what}.*no rule"
    ):
        notebooks.edition("name", small("# T", text))


def test_addresses_are_used_where_they_are_configured(monkeypatch):
    monkeypatch.setattr(notebooks, "address", lambda: "https://a.example/b/")
    monkeypatch.setattr(notebooks, "repository", lambda: "https://g.example/r")
    link = "[a word](../book/glossary.md#tap) and [x](https://b.example)"
    text, needs = notebooks.edition("name", small(link)).cells
    assert text.source == (
        "[a word](https://a.example/b/book/glossary.html#tap) and "
        "[x](https://b.example)"
    )
    assert "# %pip install git+https://g.example/r\n" in needs.source


def test_without_the_package_the_first_cell_says_what_to_type(monkeypatch):
    cell = notebooks.first_cell()
    exec(cell.source, {})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install \.` in the book"
    ):
        exec(cell.source, {})


PAIRED = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: any, language: python, name: any}
---
# T

```{code-cell} ipython3
1 + 1
```
"""


def paired(tmp_path, code):
    text = tmp_path / "a.md"
    text.write_text(PAIRED)
    cells = [new_code_cell("needs", execution_count=1)]
    cells.append(new_code_cell(code, execution_count=2))
    nbformat.write(new_notebook(cells=cells), text.with_suffix(".ipynb"))
    return text


def test_only_outputs_of_the_same_code_are_shown(tmp_path):
    notebook = stored_outputs.stored(paired(tmp_path, "1 + 1"))
    (cell,) = stored_outputs.code(notebook)
    assert (cell.source, cell.execution_count) == ("1 + 1", 1)
    text = paired(tmp_path, "1 + 2")
    with pytest.raises(ExtensionError, match=r"a.md has other code.*NAMES=a"):
        stored_outputs.stored(text)
    text.with_suffix(".ipynb").unlink()
    with pytest.raises(ExtensionError, match="missing: make execute NAMES=a"):
        stored_outputs.stored(text)


def test_other_code_is_not_given_old_outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "CHAPTERS", tmp_path)
    paired(tmp_path, "1 + 2")
    with pytest.raises(ValueError, match="other code than its notebook"):
        notebooks.refresh("a")
