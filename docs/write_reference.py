"""Write the reference's parameters: run this when a signature or docstring changed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
import api


def main() -> None:
    """Rewrite the blocks of all pages."""
    for page in sorted(api.PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(api.rewritten(text), encoding="utf-8")


if __name__ == "__main__":
    main()
