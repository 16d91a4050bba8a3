"""The pages show code that fits the text of the site, and show a job as a plain file does, too."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_COLUMNS = 88
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STILL_WIDE = {
    "README.md",
    "docs/tutorial/1-a-program-is-a-value.md",
    "docs/tutorial/2-a-job-that-runs-again-and-again.md",
    "docs/tutorial/4-an-order.md",
    "docs/tutorial/8-a-counterexample.md",
}
BLOCK = re.compile(r"^(?P<fence>`{3,})[^\n]*\n.*?^(?P=fence)$", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_code_fits_the_text_of_the_site(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wide = [
        f"{named(page)}:{text.count(chr(10), 0, block.start()) + number}: {len(line)} columns: {line}"
        for block in BLOCK.finditer(text)
        for number, line in enumerate(block[0].splitlines(), start=1)
        if len(line) > MAX_COLUMNS
    ]
    assert bool(wide) == (named(page) in STILL_WIDE), wide
