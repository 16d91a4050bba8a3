"""The store that the guide writes passes the suite, run as the guide runs it: as a script."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-store.md"
FILES = re.compile(r"^```\{code-block\} python\n:caption: (\w+\.py)\n\n(.*?\n)```$", re.MULTILINE | re.DOTALL)


def test_the_finished_store_passes_as_a_script(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    for name, code in FILES.findall(page):
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(f"{code}\n\n")
    report = subprocess.run(
        [sys.executable, "check_json_store.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"$ python check_json_store.py\n{report.stdout}```" in page, f"{report.stdout}\n{report.stderr}"
