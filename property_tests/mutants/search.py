"""Look for bugs that no property finds: a mutation tool over the handlers and the engine, for a bounded time.

Nothing of the checkout is written. In an environment with mutmut, at the top of the repository::

    uv run --with mutmut==3.8.1 python property_tests/mutants/search.py --minutes 20 kinds/task/handler.py jobs/turn.py

It ends with what survived: each a missing property, a change that means the same, or one for `tests/` to find.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROPERTIES = (
    "property_tests/behaviour/test_task_machine.py",
    "property_tests/behaviour/test_debounce_fire_time.py",
    "property_tests/behaviour/test_keys_laws.py",
    "property_tests/behaviour/test_order_laws.py",
    "property_tests/behaviour/test_recovery_laws.py",
)
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src/"]
only_mutate = {files}
also_copy = ["docs", "property_tests", "README.md", "pyproject.toml"]
pytest_add_cli_args = [
    "-p", "no:asyncio", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "default",
    "--hypothesis-profile=mutants", "-o", "faulthandler_timeout=0",
]
pytest_add_cli_args_test_selection = {properties}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="files below src/perdure")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--properties", nargs="+", default=list(PROPERTIES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perdure-mutants-") as folder:
        copy(Path(folder))
        files = [f"src/perdure/{file}" for file in given.files]
        with (Path(folder) / "pyproject.toml").open("a", encoding="utf-8") as configuration:
            configuration.write(CONFIGURATION.format(files=files, properties=given.properties))
        with suppress(subprocess.TimeoutExpired):
            mutmut(folder, "run", seconds=given.minutes * 60)
        mutmut(folder, "results", seconds=60)


def copy(folder: Path) -> None:
    """Copy what git knows of, or would."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - git
    for name in filter(None, found.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())


def mutmut(folder: str, *arguments: str, seconds: float) -> None:
    subprocess.run([sys.executable, "-m", "mutmut", *arguments], cwd=folder, timeout=seconds, check=False)  # noqa: S603 - the tool


if __name__ == "__main__":
    main()
