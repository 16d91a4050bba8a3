"""The tests find planted bugs: each of these mutants of the library is killed by the test that is named.

A run of pytest kills a fifteenth of them. Which one, the environment variable `PERDURE_MUTANTS_TURN` decides: a whole
number, 0 by default, so that a run is repeatable. CI passes the number of commits, so that fifteen commits in a row
kill all of them. With `--hypothesis-profile=nightly` one run kills them all.
"""

import ast
import os
import re
from collections import Counter
from types import ModuleType

import planted_alarms
import planted_answers
import planted_cancelling
import planted_fast_path
import planted_feeder
import planted_journals
import planted_outside
import planted_pool
import planted_rehearsals
import planted_remote
import planted_schedules
import planted_topics
import planted_workflow
import pytest
from hypothesis import settings
from mutant import ROOT, Mutant, place_of, verdict
from planted import MUTANTS

ALL = settings.get_current_profile_name() == "nightly"
PARTS = 15
TURN = os.environ.get("PERDURE_MUTANTS_TURN", "0")
CHOSEN = MUTANTS if ALL else MUTANTS[int(TURN) % PARTS :: PARTS]
CONFORMANCE = ROOT / "src" / "perdure" / "testing" / "conformance"  # its cases are named after its functions


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return functions | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 40
    assert [name for name, count in Counter(one.name for one in MUTANTS).items() if count > 1] == []


@pytest.mark.parametrize(
    "planted",
    [
        planted_workflow,
        planted_cancelling,
        planted_answers,
        planted_pool,
        planted_rehearsals,
        planted_journals,
        planted_fast_path,
        planted_remote,
        planted_schedules,
        planted_topics,
        planted_feeder,
        planted_alarms,
        planted_outside,
    ],
    ids=lambda file: file.__name__,
)
def test_the_documentation_counts_the_mutants_of_the_kinds(planted: ModuleType) -> None:
    page = (ROOT / "docs" / "contributing" / "planted-mutants.md").read_text(encoding="utf-8")
    assert f"| {len(planted.MUTANTS)} | `{planted.__name__}.py` |" in page


@pytest.mark.parametrize("killer", sorted({one.killer for one in MUTANTS}))
def test_a_killer_is_a_test_of_this_repository(killer: str) -> None:
    file, _, name = place_of(killer).partition("::")
    function, _, parameter = name.removesuffix("]").partition("[")
    assert function in names_in(file)
    shown = parameter.rpartition("-")[0].rpartition(": ")[2]  # "task: an alarm-memory" is of an operation "an alarm"
    texts = [
        path.read_text(encoding="utf-8") for path in (*(ROOT / file).parent.glob("*.py"), *CONFORMANCE.glob("*.py"))
    ]
    # Several parameters are joined by pytest, and pairs by their test: each may be written at a place of its own.
    words = re.split("-| x ", shown)
    assert any(shown in text for text in texts) or all(any(word in text for text in texts) for word in words)


@pytest.mark.parametrize("mutant", CHOSEN, ids=str)
def test_a_mutant_is_killed(mutant: Mutant) -> None:
    found = verdict(mutant.killer, mutant)
    if found.fate == "survived" and "NO POSTGRESQL" in found.output:
        pytest.skip("NO POSTGRESQL: the killer of this mutant needs it")
    assert found.fate == "killed", found.output


def test_a_plain_copy_survives() -> None:
    found = verdict(MUTANTS[0].killer)
    assert found.fate == "survived", found.output
