"""The shares of the engines: each bucket of each job belongs to one of those that serve the newest version."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from perdure.stores.shares import (
    BUCKETS,
    Members,
    ServedCode,
    StoreMember,
    bucket_of,
    everything_of,
    parts_of,
    share_of,
)
from perdure.values.address import Address, Job

JOBS = (("task", "orders"), ("task", "mails"), ("continuous", "reports"))
ALL = frozenset(range(BUCKETS))
SERVED = st.dictionaries(st.sampled_from(JOBS), st.integers(1, 3))


Versions: TypeAlias = dict[Job, int]


def members_of(served: dict[int, Versions]) -> Members:
    """The engines, each with other code: only the versions of the states decide."""
    members = (
        StoreMember(
            epoch=epoch,
            served={job: ServedCode(version, f"code {epoch}") for job, version in jobs.items()},
            joined_ms=0,
            lease_left_ms=1,
        )
        for epoch, jobs in sorted(served.items())
    )
    return Members(members=tuple(members), last_epoch=max(served), now_ms=0)


ENGINES = st.dictionaries(st.integers(1, 50), SERVED, min_size=1, max_size=5)


@given(ENGINES)
def test_the_engines_of_the_newest_version_divide_each_job(served: dict[int, Versions]) -> None:
    members = members_of(served)
    shares = {epoch: share_of(epoch, members) for epoch in served}
    for job in JOBS:
        newest = max((jobs.get(job, 0) for jobs in served.values()), default=0)
        candidates = {epoch for epoch, jobs in served.items() if newest and jobs.get(job) == newest}
        held = [shares[epoch].buckets.get(job, frozenset()) for epoch in sorted(candidates)]
        assert sum(map(len, held)) == (BUCKETS if candidates else 0), "a bucket belongs to two"
        assert frozenset().union(*held) == (ALL if candidates else frozenset()), "a bucket belongs to none"
        assert not any(job in shares[epoch].buckets for epoch in served if epoch not in candidates)
        for epoch in served:
            assert (job in everything_of(epoch, members).buckets) == (epoch in candidates)
        if len(candidates) == 1:
            assert held == [ALL]
    jobs = {job for one in served.values() for job in one}
    parts = parts_of(members)
    assert abs(sum(parts.values()) - (1.0 if jobs else 0.0)) < 1e-9


@given(ENGINES, st.data())
def test_an_engine_that_ends_moves_its_own_buckets_alone(served: dict[int, Versions], data: st.DataObject) -> None:
    same = {epoch: dict.fromkeys(JOBS, 1) for epoch in served}
    ended = data.draw(st.sampled_from(sorted(same)))
    before, left = members_of(same), {epoch: jobs for epoch, jobs in same.items() if epoch != ended}
    for epoch in left:
        kept = share_of(epoch, before).buckets
        after = share_of(epoch, members_of(left)).buckets
        for job in JOBS:
            assert kept.get(job, frozenset()) <= after[job]
            assert after[job] - kept.get(job, frozenset()) <= share_of(ended, before).buckets.get(job, frozenset())


@given(SERVED, st.sets(st.sampled_from(JOBS)), st.text(min_size=1, max_size=5))
def test_a_share_holds_the_addresses_of_its_buckets(served: Versions, held: set[tuple[str, str]], id_: str) -> None:
    share = share_of(1, members_of({1: served, 2: served}))
    for kind, name in JOBS:
        address = Address(kind, name, id_)
        expected = bucket_of(address) in share.buckets.get((kind, name), frozenset())
        assert (address in share) == expected
        assert (address in share.without(tuple(held))) == (expected and (kind, name) not in held)
