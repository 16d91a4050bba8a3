"""Check that a store meets the requirements in ``perdure.stores.contract``.

In one call::

    from perdure.testing.conformance import check_store

    print(check_store(MyHarness))

where ``MyHarness()`` creates an empty `StoreHarness`: ``open()`` opens a store over its data, ``discard()`` deletes it.
With pytest, one test for each requirement::

    import pytest
    from perdure.testing.conformance import CASES, check_case, check_kills, check_model

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_my_store_keeps(case): check_case(case, MyHarness)

    def test_my_store_agrees_with_the_model(): check_model(MyHarness)

    def test_my_store_survives_kills(): check_kills(MyHarness)
"""

from perdure.testing.conformance.assertions import Requirement, RequirementViolated
from perdure.testing.conformance.harness import (
    Case,
    ClockedHarness,
    CopyableHarness,
    CorruptibleHarness,
    KillableHarness,
    MemoryHarness,
    SharedMemoryHarness,
    SqliteHarness,
    StoreHarness,
)
from perdure.testing.conformance.requirements import REQUIREMENTS
from perdure.testing.conformance.subprocess_harness import SubprocessHarness
from perdure.testing.conformance.suite import (
    CASES,
    ConformanceReport,
    Outcome,
    check_case,
    check_kills,
    check_model,
    check_store,
)

__all__ = [
    "CASES",
    "REQUIREMENTS",
    "Case",
    "ClockedHarness",
    "ConformanceReport",
    "CopyableHarness",
    "CorruptibleHarness",
    "KillableHarness",
    "MemoryHarness",
    "Outcome",
    "Requirement",
    "RequirementViolated",
    "SharedMemoryHarness",
    "SqliteHarness",
    "StoreHarness",
    "SubprocessHarness",
    "check_case",
    "check_kills",
    "check_model",
    "check_store",
]
