"""Look for bugs that no test finds: a mutation tool over the handlers and the engine, for a bounded time.

It makes every small change that it knows of, one after the other, and runs the tests that reach the changed function.
Nothing of the checkout is written. A night's run, at the top of the repository::

    uv run --group mutation python property_tests/mutants/search.py --minutes 60

It ends with the surviving changes, each as a difference: a missing test, or an equivalent change. The handling of
those that were found is described in ``docs/reference/surviving-mutants.md``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = (
    "kinds/task/handler.py",
    "kinds/continuous/handler.py",
    "kinds/debounce/handler.py",
    "jobs/run.py",
    "jobs/event_run.py",
    "jobs/recovery.py",
    "jobs/suspension.py",
    "jobs/keys.py",
    "jobs/messages.py",
    "jobs/turn.py",
    "jobs/writes.py",
    "jobs/draft.py",
    "jobs/decision.py",
    "values/retry.py",
    "engine/turn.py",
    "engine/runner.py",
)
"""Where a bug costs most, the pure ones first."""

TESTS = (
    "tests/behaviour",
    "tests/golden",
    "tests/cli",
    "property_tests/behaviour/test_task_machine.py",
    "property_tests/behaviour/test_debounce_clear.py",
    "property_tests/behaviour/test_debounce_fire_time.py",
    "property_tests/behaviour/test_debounce_no_event_lost.py",
    "property_tests/behaviour/test_keys_laws.py",
    "property_tests/behaviour/test_order_laws.py",
    "property_tests/behaviour/test_recovery_laws.py",
    "property_tests/values/test_retry_laws.py",
)
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src/"]
only_mutate = {files}
do_not_mutate_patterns = ['raise ', 'return f"', 'f"', '^\\s*"', 'EngineError\\(']
also_copy = ["docs", "tests", "property_tests", "README.md", "pyproject.toml"]
pytest_add_cli_args = [
    "-p", "no:asyncio", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "default", "-k", "not sqlite",
    "--hypothesis-profile=mutants", "-o", "faulthandler_timeout=0", "-o", "hang_timeout=0",
]
pytest_add_cli_args_test_selection = {tests}
"""
"""Texts of errors are not changed: a different text is not a bug."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files below src/perdure", default=list(FILES))
    parser.add_argument("--minutes", type=float, default=60, help="time limit; later changes are not tried (60)")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="the tests that should find the changes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perdure-mutants-") as folder:
        copy(Path(folder))
        files = [f"src/perdure/{file}" for file in given.files]
        with (Path(folder) / "pyproject.toml").open("a", encoding="utf-8") as configuration:
            configuration.write(CONFIGURATION.format(files=files, tests=given.tests))
        with suppress(subprocess.TimeoutExpired), (Path(folder) / "progress").open("w", encoding="utf-8") as progress:
            subprocess.run(
                [sys.executable, "-m", "mutmut", "run"],
                cwd=folder,
                timeout=given.minutes * 60,
                check=False,
                stdout=progress,
                stderr=subprocess.STDOUT,
            )
        report(folder)


def copy(folder: Path) -> None:
    """Copy what git knows of, or would."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - git
    for name in filter(None, found.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())


def report(folder: str) -> None:
    """Say how many changes met which fate, and show those that nothing found."""
    fates: dict[str, list[str]] = {}
    for name, fate in re.findall(r"^\s*(\S+): ([\w ]+)$", mutmut(folder, "results", "--all", "true"), re.MULTILINE):
        fates.setdefault(fate, []).append(name)
    print("; ".join(f"{len(names)} {fate}" for fate, names in sorted(fates.items())))
    if not fates:
        print((Path(folder) / "progress").read_text(encoding="utf-8")[-5_000:])
    for name in sorted([*fates.get("survived", ()), *fates.get("no tests", ())]):
        print(f"\n## {name}\n{mutmut(folder, 'show', name)}")


def mutmut(folder: str, *arguments: str) -> str:
    """Run the tool."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout  # noqa: S603 - the tool


if __name__ == "__main__":
    main()
