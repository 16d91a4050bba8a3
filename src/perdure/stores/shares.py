"""The engines on a shared store, and each engine's share of the work.

Each engine computes from the living members, alike, which engine fires an alarm, delivers a message or recovers a
claim: no engine coordinates the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5
from typing import Final, TypeAlias

import attrs

from perdure.values.address import Address, Job
from perdure.values.excerpt import fields_in_line
from perdure.values.listings import EngineMember, ServedVersion


@attrs.frozen
class ServedCode:
    """The code with which an engine serves a job.

    Attributes:
        version: the state version.
        code: the fingerprint over all that decides which instances it can read. Empty if it is not known.
    """

    version: int
    code: str = ""


Served: TypeAlias = Mapping[Job, ServedCode]
"""The jobs that an engine serves."""


@attrs.frozen(kw_only=True)
class StoreMember:
    """One engine on a shared store.

    Attributes:
        epoch: its opening's number.
        served: the jobs that it serves. Empty until its first heartbeat that reports them.
        joined_ms: the store's clock when it opened the store.
        lease_left_ms: how long its lease lasts from now, by the store's clock. Negative when it has ended.
        label: the process, for operators: such as ``host:pid``.
    """

    __repr__ = fields_in_line

    epoch: int
    served: Served
    joined_ms: int
    lease_left_ms: int
    label: str = ""


@attrs.frozen(kw_only=True)
class Members:
    """The engines on a shared store, at one moment.

    Attributes:
        members: all that were not declared dead, by epoch.
        last_epoch: the greatest epoch that was assigned until then.
        now_ms: the store's wall clock, rounded down: integer milliseconds since 1970 UTC.
    """

    members: tuple[StoreMember, ...]
    last_epoch: int
    now_ms: int

    @property
    def epochs(self) -> frozenset[int]:
        """The members' epochs."""
        return frozenset(member.epoch for member in self.members)


# Stored in each row of PostgreSQL, and computed by every engine: with another number, engines of two versions
# would divide the work differently.
BUCKETS: Final = 64
"""The parts into which each job's instances are divided."""


def bucket_of(address: Address) -> int:
    """Return an address's bucket: its MD5's first byte, modulo `BUCKETS`. A database can compute it too."""
    return bucket_of_printed(str(address))


def bucket_of_printed(address: str) -> int:
    """Return a printed address's bucket."""
    # MD5 of the printed address, because PostgreSQL computes the same.
    return md5(address.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[0] % BUCKETS


@attrs.frozen
class Share:
    """The buckets of each job whose alarms, messages and abandoned claims one engine handles.

    Attributes:
        buckets: the buckets, by job. A job without buckets is left out.
    """

    buckets: Mapping[Job, frozenset[int]]

    def __contains__(self, address: Address) -> bool:
        """Return whether an address is in the share."""
        buckets = self.buckets.get((address.kind, address.name))
        # All buckets: the usual case of an engine without others needs no hash.
        return buckets is not None and (len(buckets) == BUCKETS or bucket_of(address) in buckets)

    def has_lane(self, job: Job, lane: str) -> bool:
        """Return whether a lane of a job is in the share. All engines share a lane without a name."""
        buckets = self.buckets.get(job)
        return buckets is not None and (len(buckets) == BUCKETS or not lane or bucket_of_printed(lane) in buckets)

    def without(self, jobs: tuple[Job, ...]) -> Share:
        """Return the share without some jobs."""
        return Share({job: buckets for job, buckets in self.buckets.items() if job not in jobs})


NOTHING: Final = Share({})
"""The share of an engine that serves nothing yet."""


def share_of(epoch: int, members: Members) -> Share:
    """Return one engine's share, by rendezvous hashing.

    A job's bucket belongs to the member that draws the greatest number for it, among those that serve the job in the
    newest version that any member serves. When a member joins or ends, only its own buckets move to other engines.

    Args:
        epoch: the engine.
        members: all members, the engine among them.
    """
    drawn: dict[frozenset[int], frozenset[int]] = {}
    shares: dict[Job, frozenset[int]] = {}
    for job, candidates in _newest(epoch, members).items():
        # By candidates: engines that serve other jobs draw other buckets, and one draw for all would leave some without
        # an engine.
        if candidates not in drawn:
            drawn[candidates] = _drawn(epoch, candidates)
        shares[job] = drawn[candidates]
    return Share({job: buckets for job, buckets in shares.items() if buckets})


def everything_of(epoch: int, members: Members) -> Share:
    """Return all buckets for the jobs that one engine serves in the newest version that any member serves.

    Args:
        epoch: the engine.
        members: all members, the engine among them.
    """
    return Share(dict.fromkeys(_newest(epoch, members), frozenset(range(BUCKETS))))


OTHERS_MS: Final = 1_000
"""How much later than the lanes of its share an engine begins another engine's, at least; at most twice that."""


def lane_delay_ms(epoch: int, lane: str) -> int:
    """Return how much later an engine begins the instances of a lane that is not in its share, in ms.

    By the epoch and the lane: idle engines that help another one should not all begin where it does, nor where the
    others do.
    """
    return OTHERS_MS + int.from_bytes(_number(epoch, lane)[:2]) % OTHERS_MS


def parts_of(members: Members) -> dict[int, float]:
    """Return each member's part of all buckets of all served jobs, by epoch."""
    jobs = {job for member in members.members for job in member.served}
    parts: dict[int, float] = {}
    for member in members.members:
        held = sum(map(len, share_of(member.epoch, members).buckets.values()))
        parts[member.epoch] = held / (BUCKETS * len(jobs)) if jobs else 0.0
    return parts


def reported(members: Members) -> tuple[EngineMember, ...]:
    """Return the members as a client sees them, by epoch."""
    parts = parts_of(members)
    return tuple(
        EngineMember(
            epoch=member.epoch,
            label=member.label,
            joined_ms=member.joined_ms,
            lease_left_ms=member.lease_left_ms,
            served=tuple(
                ServedVersion(kind=kind, name=name, state_version=code.version)
                for (kind, name), code in sorted(member.served.items())
            ),
            share=round(parts[member.epoch], 4),
        )
        for member in sorted(members.members, key=lambda member: member.epoch)
    )


def _newest(epoch: int, members: Members) -> dict[Job, frozenset[int]]:
    """Return the jobs that an engine serves in the newest version, with the members that do so too."""
    served = {member.epoch: {job: code.version for job, code in member.served.items()} for member in members.members}
    found: dict[Job, frozenset[int]] = {}
    for job, version in served.get(epoch, {}).items():
        # Only the newest version works: an older engine that takes an alarm cannot read the rows that the newer one has
        # written.
        if version == max(versions.get(job, version) for versions in served.values()):
            found[job] = frozenset(other for other, versions in served.items() if versions.get(job) == version)
    return found


def _drawn(epoch: int, candidates: frozenset[int]) -> frozenset[int]:
    return frozenset(
        bucket for bucket in range(BUCKETS) if max(candidates, key=lambda other: _number(other, bucket)) == epoch
    )


def _number(epoch: int, bucket: int | str) -> bytes:
    # A fixed hash: Python's `hash` of a text differs in each process, and engines would disagree about every bucket.
    return md5(f"{epoch} {bucket}".encode(), usedforsecurity=False).digest()
