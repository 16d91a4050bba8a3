"""Text of any characters in a PostgreSQL store, U+0000 among them."""

from __future__ import annotations

import asyncio

import attrs
from hypothesis import given
from hypothesis import strategies as st
from postgres_harness import PostgresHarness

from perdure.stores.contract import commit_one, load_one
from perdure.stores.postgres.encoding import decoded, encoded
from perdure.stores.values import Query
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.harness import opened
from perdure.testing.conformance.histories import address, instance, message, remembered
from perdure.values.transition import Put, Transition

FEW = st.text("\0\1\2a\U0010ffff", max_size=6)
"""Few characters, so that texts share their beginnings."""


@given(FEW | st.text())
def test_encoded_text_holds_no_null_and_is_decoded_unchanged(text: str):
    assert "\0" not in encoded(text)
    assert decoded(encoded(text)) == text


@given(FEW, FEW)
def test_encoding_keeps_order_and_prefixes(one: str, other: str):
    assert (encoded(one) < encoded(other)) == (one < other)
    assert encoded(one).startswith(encoded(other)) == one.startswith(other)


def test_null_characters_everywhere_are_returned_unchanged(postgres_url: str):
    """Ids, keys, states, answers, payloads; found by prefix and in order; an id with U+0001 is another one."""
    ids = ["a", "a\0", "a\0\0", "a\0\1", "a\1", "a\1\2", "b"]

    async def main() -> None:
        async with opened(PostgresHarness(postgres_url)) as store:
            for id_ in reversed(ids):
                at = address(id_)
                row = attrs.evolve(instance(at, state=f"{id_}\0"), data="\0\1", alarm_ms=1)
                sent = message(at, at, f"payload {id_}")
                kept = attrs.evolve(remembered(f"key {id_}", f"answer {id_}"), fingerprint="\0")
                await value(
                    commit_one(store, Transition(address=at, write=Put(row), messages=(sent,), remember=(kept,)))
                )
                loaded = await value(load_one(store, at, f"key {id_}", 0))
                assert loaded.instance == attrs.evolve(row, incarnation=loaded.instance.incarnation, version=1)
                assert (loaded.remembered, loaded.keys_held) == (kept, 1)
            found = await value(store.find(Query(id_prefix="a\0")))
            assert [one.address.id for one in found] == ["a\0", "a\0\0", "a\0\1"]
            page = await value(store.search(Query(kind="task", limit=9), 3))
            assert ([one.address.id for one in page.instances], page.after) == (ids[:3], address(ids[2]))
            assert len(await value(store.messages(0, 99))) == len(ids)
            assert {one.address.id for one in await value(store.due(1, 99))} == set(ids)

    asyncio.run(main())
