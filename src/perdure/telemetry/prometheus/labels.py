"""The values of labels, of which there are few: only those of served definitions; any other one is ``other``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, get_args

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.values.instance import HEALS
from perdure.values.live_event import CommitOutcome, RequestOutcome
from perdure.values.status import Suspension

OTHER: Final = "other"

REQUEST_OUTCOMES: Final = frozenset(get_args(RequestOutcome))
COMMIT_OUTCOMES: Final = frozenset(get_args(CommitOutcome))
CAUSES: Final = frozenset({"alarm", "start", "trigger", "flush", "event", "upgrade"})
"""The causes of the package's kinds. Those of other kinds are ``other``: nothing bounds their number."""
REASONS: Final = frozenset(get_args(Suspension))
LEFT_REASONS: Final = frozenset({"InvalidInput", *HEALS})
DELIVERY_OUTCOMES: Final = frozenset({"consumed", "postponed", "dead_lettered"})
RUN_OUTCOMES: Final = ("completed", "retrying", "failed")


def one_of(known: Collection[str], value: str) -> str:
    """Return a value if it is known, else ``other``."""
    return value if value in known else OTHER


@attrs.frozen
class JobLabels:
    """The labels of a job.

    Attributes:
        values: its kind and its name.
        actions: its actions.
    """

    values: tuple[str, str]
    actions: frozenset[str] = frozenset()


_UNSERVED: Final = JobLabels((OTHER, OTHER))


@attrs.frozen
class KnownJobs:
    """Finds the labels of the job of an address.

    Attributes:
        by_job: the labels of each served job, by kind and name.
    """

    by_job: Mapping[tuple[str, str], JobLabels]

    @classmethod
    def of(cls, jobs: Mapping[tuple[str, str], AnyDefinition]) -> KnownJobs:
        """Return those of served definitions."""
        return cls({job: JobLabels(job, frozenset(_commands(each))) for job, each in jobs.items()})

    def at(self, address: str) -> JobLabels:
        """Return the labels of the job of an address, printed ``kind:name:id``."""
        kind, _, rest = address.partition(":")
        return self.of_job(kind, rest.partition(":")[0])

    def of_job(self, kind: str, name: str) -> JobLabels:
        """Return the labels of a job."""
        return self.by_job.get((kind, name), _UNSERVED)


def _commands(definition: AnyDefinition) -> Mapping[str, Any]:
    return definition.plan.commands
