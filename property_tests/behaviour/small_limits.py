"""Limits and internal sizes of 1 to 5, which every history crosses, for worlds of healthy work."""

from __future__ import annotations

from typing import Final

import attrs
from hypothesis import strategies as st

from perdure import Limits
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.values import DEFAULT_CACHE_BYTES
from perdure.testing.world.boundary import Requests

few: st.SearchStrategy[int] = st.integers(2, 5)

SMALL: Final = {
    "concurrency": few,
    "mailbox_size": few,
    "max_pending": few,
    "messages_per_turn": few,
    "answers_per_address": few,
    "history_events": st.integers(0, 5),
    "alarm_batch": few,
    "replay_chunk": few,
    "journal_page": few,
    "message_batch": few,
    "recovery_page": few,
    "queued_items": few,
    "lane_page": few,
}

NOT_SMALL: Final = {
    "waits": "no caller of these histories waits for a status",
    "on_full": "a caller repeats a request that was refused, so that full queues are met again",
    "state_bytes": "work with a larger state is not healthy",
    "payload_bytes": "work with larger values is not healthy",
    "input_bytes": "as above",
    "outcome_bytes": "as above",
    "keys_per_address": "no further key of an address is ever accepted",
    "idempotency_ttl": "a repeat after it is a new request",
    "history_retention": "`history_events` deletes the same rows",
    "message_deliveries": "full queues count as failed deliveries",
    "dead_letter_retention": "healthy work has no dead letter",
    "blocked_loop": "a simulation has no loop that blocks",
    "threads": "a simulation performs their effects at once",
    "processes": "as above",
    "shutdown_timeout": "the stops of these histories are deaths, or find nothing in progress",
}
"""The limits that these worlds do not draw, and why."""

limits: st.SearchStrategy[Limits] = st.builds(Limits, **SMALL)
cache_bytes: st.SearchStrategy[int] = st.sampled_from([0, 4_000, DEFAULT_CACHE_BYTES])
"""The bound of the instances that an engine keeps in memory: none of them, two or three, or all."""

tiny: st.SearchStrategy[int] = st.integers(1, 5)
small_sizes: st.SearchStrategy[Sizes] = st.builds(Sizes, **{field.name: tiny for field in attrs.fields(Sizes)})
sizes: st.SearchStrategy[Sizes] = st.one_of(small_sizes, st.just(DEFAULT_SIZES))
"""The internal sizes: all of them small, or those of production."""

requests: st.SearchStrategy[Requests] = st.sampled_from(["grouped", "single"])
"""How loads and commits reach the store: only groups fill a batch."""

ONES: Final = Sizes(**{field.name: 1 for field in attrs.fields(Sizes)})
TWOS: Final = Sizes(**{field.name: 2 for field in attrs.fields(Sizes)})
