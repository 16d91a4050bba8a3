"""``reference/behaviour.md`` 1, *Crash sweep, the promise*.

Stop the process before or after *any* store operation or effect; recover; repeat the request once with its key: no
instance is left without its alarm, none half-written, no acknowledged event lost, and user code runs twice only where
the crash came between the claim and the commit, and then it is marked.
"""

from pathlib import Path

import pytest
from crash_sweep import Operation, crashed, crossings_of, sweep, undisturbed
from crash_table import ALL_OPERATIONS, OPERATIONS, documented
from hypothesis import settings
from small_limits import ONES, TWOS
from world import STORES, StoreKind

from perdure.runtime.record import Sizes

NIGHTLY = settings.get_current_profile_name() == "nightly"
SWEPT = tuple(
    pytest.param(operation, kind, id=f"{operation.name}-{kind}")
    for operation in ALL_OPERATIONS
    for kind in STORES
    if NIGHTLY or kind == "memory" or operation in OPERATIONS
)


@pytest.mark.parametrize(("operation", "kind"), SWEPT)
def test_a_crash_anywhere_is_recovered(operation: Operation, kind: StoreKind, tmp_path: Path) -> None:
    swept = sweep(operation, kind, tmp_path)
    assert swept.complaints == ()
    assert (swept.stuck, swept.half_written, swept.unmarked) == (0, 0, 0)
    counted = (swept.points, swept.repeated)
    assert counted == documented()[operation.name], "docs/contributing/crash-points.md says otherwise"


@pytest.mark.parametrize("operation", ALL_OPERATIONS if NIGHTLY else OPERATIONS[::3], ids=lambda each: each.name)
@pytest.mark.parametrize("sizes", [ONES, TWOS] if NIGHTLY else [ONES], ids=lambda sizes: str(sizes.batch))
def test_a_crash_anywhere_is_recovered_with_small_internal_sizes(
    operation: Operation, sizes: Sizes, tmp_path: Path
) -> None:
    swept = sweep(operation, "memory", tmp_path, sizes)
    assert swept.complaints == ()
    assert (swept.stuck, swept.half_written, swept.unmarked) == (0, 0, 0)


@pytest.mark.parametrize(
    "operation", ALL_OPERATIONS if NIGHTLY else OPERATIONS[1::3], ids=lambda operation: operation.name
)
def test_a_second_crash_during_the_recovery_is_recovered(operation: Operation, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", tmp_path)
    places = [place for place, name in enumerate(crossings_of(operation, "memory", tmp_path)) if "messages" not in name]
    for first in places[::2]:
        for second in range(0, 24, 2):
            found = crashed(operation, "memory", tmp_path, first, second)
            assert found.looks == expected.looks, f"after crashes at {first} and {second}"
            assert (found.stuck, found.unmarked) == ((), ()), f"after crashes at {first} and {second}"
