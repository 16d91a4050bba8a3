"""The description of an engine: its version, its jobs and its limits."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.values.status import Hold
from perdure.wire.contract import contract_of


@attrs.frozen(kw_only=True)
class JobInfo:
    """A job that an engine serves.

    Attributes:
        kind: its kind.
        name: its name.
        actions: the requests that its instances accept.
        fingerprints: of its types, by their names; see `Contract`.
        hold: whether it is held.
        run_now: the action that runs an instance now that waits for a retry; None if there is none.
    """

    kind: str
    name: str
    actions: tuple[str, ...]
    fingerprints: Mapping[str, str]
    hold: Hold = "released"
    run_now: str | None = None


@attrs.frozen
class EngineInfo:
    """An engine as its clients see it.

    Attributes:
        version: the version of the library that it runs.
        jobs: the jobs that it serves.
        payload_bytes: maximum size of an encoded input.
        state_bytes: maximum size of an encoded state.
    """

    version: str
    jobs: tuple[JobInfo, ...]
    payload_bytes: int
    state_bytes: int


def job_info(job: AnyDefinition, hold: Hold) -> JobInfo:
    """Describe a job by its definition."""
    return JobInfo(
        kind=job.kind,
        name=job.name,
        actions=tuple(job.plan.offered),
        fingerprints=contract_of(job).fingerprints,
        hold=hold,
        run_now=job.run_now,
    )


def installed_version() -> str:
    """Return the version of the installed library; empty in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - imports a random generator

    try:
        return version("perdure")
    except PackageNotFoundError:
        return ""
