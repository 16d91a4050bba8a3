"""Check that a store keeps the promises of ``perdure.stores.store``.

With pytest::

    import pytest
    from perdure.testing.conformance import CASES, check_case, check_model

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_my_store_keeps(case): check_case(case, MyPlace)

    def test_my_store_agrees_with_the_model(): check_model(MyPlace)

where ``MyPlace()`` makes an empty `Place`: ``open()`` opens a store over its data, ``discard()`` throws them away.
"""

from perdure.testing.conformance.place import Place
from perdure.testing.conformance.places import MemoryPlace, SqlitePlace
from perdure.testing.conformance.promise import BrokenPromise
from perdure.testing.conformance.suite import CASES, Case, check_case, check_model

__all__ = ["CASES", "BrokenPromise", "Case", "MemoryPlace", "Place", "SqlitePlace", "check_case", "check_model"]
