"""Check that a store keeps the promises of ``perdure.stores.store``.

In one call::

    from perdure.testing.conformance import check_store

    print(check_store(MyPlace))

where ``MyPlace()`` makes an empty `Place`: ``open()`` opens a store over its data, ``discard()`` throws them away. With
pytest, one test for each promise::

    import pytest
    from perdure.testing.conformance import CASES, check_case, check_kills, check_model

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_my_store_keeps(case): check_case(case, MyPlace)

    def test_my_store_agrees_with_the_model(): check_model(MyPlace)

    def test_my_store_survives_kills(): check_kills(MyPlace)
"""

from perdure.testing.conformance.case import Case
from perdure.testing.conformance.hosted import HostedPlace
from perdure.testing.conformance.place import FragilePlace, MortalPlace, Place
from perdure.testing.conformance.places import MemoryPlace, SqlitePlace
from perdure.testing.conformance.promise import BrokenPromise, Promise
from perdure.testing.conformance.promises import PROMISES
from perdure.testing.conformance.report import Outcome, Report
from perdure.testing.conformance.suite import CASES, check_case, check_kills, check_model, check_store

__all__ = [
    "CASES",
    "PROMISES",
    "BrokenPromise",
    "Case",
    "FragilePlace",
    "HostedPlace",
    "MemoryPlace",
    "MortalPlace",
    "Outcome",
    "Place",
    "Promise",
    "Report",
    "SqlitePlace",
    "check_case",
    "check_kills",
    "check_model",
    "check_store",
]
