"""The store of the guide passes the suite as a script, and without each of its four precautions it is caught."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from json_store import JsonHarness

from perdure.stores.contract import commit_one, load_one
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Put, Transition

GUIDE = Path(__file__).parents[2] / "docs" / "contributing"
PAGE = (GUIDE / "write-a-store.md").read_text(encoding="utf-8")
CODE = (GUIDE / "json_store.py").read_text(encoding="utf-8")
SCRIPT = re.compile(
    r"^```\{code-block\} python\n:caption: check_json_store\.py\n\n(.*?\n)```$", re.MULTILINE | re.DOTALL
)

ORDER = Address("task", "orders", "a")
PLACED = Transition(address=ORDER, write=Put(Instance(address=ORDER, created_ms=0, updated_ms=0)))

ONE_CASE = """
import sys
from json_store import JsonHarness
from perdure.testing.conformance import CASES, RequirementViolated, check_case

if __name__ == "__main__":
    (case,) = [case for case in CASES if case.name == sys.argv[1]]
    try:
        check_case(case, JsonHarness)
    except RequirementViolated:
        print("violated")
"""

MISTAKES = {
    "a_successor_is_another_incarnation": (
        'self.rows["counters"].get(counter, 0)',
        'len(self.rows["instances"])',
    ),
    "a_batch_is_answered_one_by_one": (
        """        self.batch(self.commit_one, transitions, answered)
""",
        """        decided = {id(one): self.decide(one) for one in transitions}

        def late(transition):
            changes = decided[id(transition)]
            if isinstance(changes, Conflict):
                return Failure(changes)
            self.change(changes)
            written = changes.get(("instances", name_of(transition.address)))
            return Success(Fence(0, 0) if written is None else written.fence)

        self.batch(late, transitions, answered)
""",
    ),
    "a_kill_during_a_commit_leaves_it_complete_or_absent": (
        """    draft.replace(path / "journal.json")  # the commit
    finish(path)
""",
        """    for kind, name, text in lines:
        file = path / kind / f"{name}.json"
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text)
""",
    ),
}


def run(folder: Path, code: str, script: str, *arguments: str) -> str:
    (folder / "json_store.py").write_text(code, encoding="utf-8")
    (folder / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "script.py", *arguments]
    report = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    assert report.returncode == 0, report.stderr
    return report.stdout


def test_the_store_passes_as_a_script(tmp_path):
    (script,) = SCRIPT.findall(PAGE)
    assert f"$ python check_json_store.py\n{run(tmp_path, CODE, script)}```" in PAGE


@pytest.mark.parametrize("case", MISTAKES)
def test_the_case_that_the_guide_names_finds_the_mistake(case, tmp_path):
    right, wrong = MISTAKES[case]
    assert CODE.count(right) == 1
    assert f"`{case}`" in PAGE
    assert run(tmp_path, CODE.replace(right, wrong), ONE_CASE, case) == "violated\n"


async def cancelled(harness: JsonHarness) -> Instance | None:
    """Cancel the caller of a commit that a thread writes, and return the row that the store then shows."""
    store = await harness.open()
    caller = asyncio.ensure_future(commit_one(store, PLACED).awaitable())
    for _ in range(5):  # steps of the loop until the thread has the commit
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    await store.redrive(0)  # a write, which waits for the one in progress
    found = await load_one(store, ORDER, None, 0)
    await store.close()
    return found.unwrap()._inner_value.instance


def test_a_cancelled_caller_leaves_no_half_commit():
    harness = JsonHarness()
    try:
        found = asyncio.run(cancelled(harness))
    finally:
        asyncio.run(harness.discard())
    assert found is not None
    assert found.version == 1
