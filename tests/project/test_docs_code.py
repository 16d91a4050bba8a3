"""The pages show code that fits the text of the site and is complete, and show a job as a plain file does, too."""

import ast
import builtins
import re
import subprocess
import sys
import textwrap
import tomllib
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_COLUMNS = 88
MAX_PAGES_TO_DEPLOY = 8
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STILL_WIDE: set[str] = {"docs/how-to/migrate-stored-state.md"}
QUOTED = re.compile(
    r"""^<!-- skip: next "(?P<names>[\w., ]+) of (?P<module>perdure[\w.]+|json_store|\w+_kind|\w+_job)" -->\n"""
    r"""```python\n(?P<code>.*?)^```$""",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\(([^)]+)\)")
BLOCK = re.compile(r"^(?P<fence>`{3,})[^\n]*\n.*?^(?P=fence)$", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_readme_defines_each_name_once() -> None:
    """A reader pastes all of its code into one file: a second function of a name would replace the first."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    nodes = [node for block in blocks for node in ast.parse(block).body]
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    assert sorted(names) == sorted(set(names))


def test_the_first_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    """A reader saves it as a file, runs the file, and compares the output with the page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = (
        re.findall(rf"^```{kind}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[0] for kind in ("python", "text")
    )
    (tmp_path / "shop.py").write_text(code, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "shop.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert OutputChecker().check_output(printed, run.stdout, ELLIPSIS), (run.stdout, run.stderr)


def test_all_blocks_of_python_run() -> None:
    """The plugin of the pages runs the blocks of `python` only, so no session is in a block of another language."""
    blocks = {
        f"{named(page)}:{block.start()}": block[0]
        for page in PAGES
        for block in BLOCK.finditer(page.read_text("utf-8"))
        if not re.match(r"`{3,}(python|\{code-block\} python)\n", block[0])
    }
    assert [at for at, block in blocks.items() if re.match(r"`{3,}py|`{3,}[^\n]*\n(.*\n)*?>>> ", block)] == []


def test_pages_import_no_example_of_the_library() -> None:
    """All the code that a reader needs to copy and adapt a page is on the page."""
    code = {named(page): "\n".join(block[0] for block in BLOCK.finditer(page.read_text("utf-8"))) for page in PAGES}
    assert [page for page, text in code.items() if "perdure.examples" in text] == []


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_way_to_a_deployed_service_has_at_most_eight_pages(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    steps = re.findall(r"^(\d)\. \[[^\]]+\]\(\S+\)$", text.partition("## From zero to")[2], re.MULTILINE)
    assert steps == [f"{number}" for number in range(1, len(steps) + 1)]
    assert 0 < len(steps) <= MAX_PAGES_TO_DEPLOY


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_code_fits_the_text_of_the_site(page: Path) -> None:
    """The site renders `{api}` as signatures and lists, so their lines may be as long as those of the text."""
    text = page.read_text(encoding="utf-8")
    wide = [
        f"{named(page)}:{text.count(chr(10), 0, block.start()) + number}: {len(line)} columns: {line}"
        for block in BLOCK.finditer(text)
        if not block[0].startswith("```{api}")
        for number, line in enumerate(block[0].splitlines(), start=1)
        if len(line) > MAX_COLUMNS
    ]
    assert bool(wide) == (named(page) in STILL_WIDE), wide


def test_the_readme_links_to_pages_that_exist() -> None:
    """A package index shows the README, too, so its links name the site, not a file beside it."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    links = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    ours = [link.removeprefix(urls["Documentation"]) for link in links if link.startswith(urls["Documentation"])]
    assert [link for link in links if not link.startswith("https://")] == []
    assert len(ours) > 5
    files = [ROOT / "docs" / page for page in ours]
    files = [file.with_suffix(".md") if file.suffix == ".html" else file for file in files]  # or a picture
    assert [file for file in files if not file.exists()] == []


def quotations() -> list[tuple[Path, re.Match[str]]]:
    return [(page, quoted) for page in PAGES for quoted in QUOTED.finditer(page.read_text(encoding="utf-8"))]


def definitions(module: str) -> dict[str, str]:
    """The source of the definitions of a module, by name; without marks for the linter."""
    folders = (ROOT / "src", ROOT / "docs" / "contributing", ROOT / "docs" / "tutorial")
    files = [folder.joinpath(*module.split(".")).with_suffix(".py") for folder in folders]
    text = next(file for file in files if file.exists()).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    tree = ast.parse(text)
    of_classes = [(f"{of.name}.", each) for of in tree.body if isinstance(of, ast.ClassDef) for each in of.body]
    for prefix, node in [*(("", node) for node in tree.body), *of_classes]:
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Assign(targets=[ast.Name(id=name)])
            ):
                first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))])
                lines = text.splitlines()[first - 1 : node.end_lineno]
                code = "\n".join(re.sub(r"  # noqa.*", "", line) for line in lines)
                found[f"{prefix}{name}"] = textwrap.dedent(code)
            case _:
                pass
    return found


@pytest.mark.parametrize(
    ("page", "quoted"), quotations(), ids=[f"{named(page)}: {quoted['names']}" for page, quoted in quotations()]
)
def test_a_quotation_is_the_source_of_the_example(page: Path, quoted: re.Match[str]) -> None:
    """The pages hold the code of the examples, so that a reader of the plain files sees it as well."""
    source = definitions(quoted["module"])
    expected = [source[name] for name in quoted["names"].split(", ")]
    assert re.split(r"\n+(?=\S)", quoted["code"].strip()) == re.split(r"\n+(?=\S)", "\n".join(expected))


PYTHON = re.compile(r"^```python\n(?P<code>(?!>>>).*?)^```$", re.MULTILINE | re.DOTALL)
LESSONS = sorted({page for page, _ in quotations() if page.parent.name == "tutorial"})


def bound(code: ast.AST) -> set[str]:
    """The names that code binds anywhere: imports, definitions, assignments, parameters, captures of patterns."""
    names: set[str] = set()
    for node in ast.walk(code):
        match node:
            case ast.ImportFrom(names=imported) | ast.Import(names=imported):
                names |= {alias.asname or alias.name for alias in imported}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.MatchAs(name=str(name)):
                names.add(name)
            case _:
                pass
    return names


@pytest.mark.parametrize("page", LESSONS, ids=named)
def test_a_lesson_imports_the_names_in_the_code_that_it_quotes(page: Path) -> None:
    """Also the reader of a plain file sees where each name of the job comes from: the page, or an earlier lesson."""
    known = set(vars(builtins))
    known |= {name for earlier, quoted in quotations() if earlier < page for name in quoted["names"].split(", ")}
    for block in PYTHON.finditer(page.read_text(encoding="utf-8")):
        code = ast.parse(block["code"])
        known |= bound(code)
        used = {node.id for node in ast.walk(code) if isinstance(node, ast.Name)}
        assert used <= known, (named(page), used - known)


def test_lessons_show_the_code_of_their_job() -> None:
    lessons = {page.name[0] for page, _ in quotations() if page.parent.name == "tutorial"}
    assert lessons >= {"1", "2", "4", "5"}
    assert [named(page) for page in PAGES if "{literalinclude}" in page.read_text(encoding="utf-8")] == []
