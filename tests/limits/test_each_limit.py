"""Each limit, reached through the public interface: at its edge and one beyond, with the promised answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from edge import Edge, Range
from engine_edges import EDGES
from fixed_edges import FIXED
from option_edges import RANGES
from postgres_harness import EMPTY_SCHEMA
from world import ALL_ON_POSTGRES

from perdure.testing import World

STORES = ("memory", "sqlite", *(("postgres",) if ALL_ON_POSTGRES else ()))


@pytest.mark.parametrize(
    ("edge", "store"),
    [
        pytest.param(edge, store, id=f"{edge.name}-{store}")
        for edge in (*EDGES, *FIXED)
        for store in STORES
        if store in edge.stores
    ],
)
def test_a_limit_of_the_engine_has_the_promised_answers(edge: Edge, store: str, tmp_path: Path) -> None:
    for uses, promised in ((edge.edge, edge.within), (edge.edge + 1, edge.beyond)):
        places = {"memory": "memory://", "sqlite": tmp_path / f"{uses}.db"}
        at = places[store] if store in places else EMPTY_SCHEMA.url()
        with World(edge.app(), store=at) as world:
            assert edge.reach(world, uses) == promised
            world.advance("1 minute")  # nothing that waits remains


@pytest.mark.parametrize("limit", RANGES, ids=lambda limit: limit.name)
def test_the_ends_of_a_range_are_valid_and_one_beyond_is_refused(limit: Range) -> None:
    for value in limit.valid:
        limit.make(value)
    for value in limit.refused:
        with pytest.raises(limit.error):
            limit.make(value)
