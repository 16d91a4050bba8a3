"""Every metric: its name, form, labels and description, and the values of the labels.

There are few of these: no label is an id, and a label of jobs has only those of served definitions, or ``other``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, get_args

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.values.instance import HEALS
from perdure.values.live_event import CommitOutcome, RequestOutcome
from perdure.values.status import Suspension


@attrs.frozen(kw_only=True, eq=False)  # compared by identity: it is a key on the path of every request
class Metric:
    """A metric.

    Attributes:
        name: its name, that of a counter with ``_total``.
        form: its type.
        labels: the names of its labels.
        help: its description.
    """

    name: str
    form: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...] = ()
    help: str


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"perdure_{name}_total", form="counter", labels=labels, help=text)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"perdure_{name}", form="gauge", labels=labels, help=text)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"perdure_{name}", form="histogram", labels=labels, help=text)


# ------------------------------------------------------------ counted from events
REQUESTS: Final = _counter("requests", "Requests of callers that ended.", "kind", "job_name", "action", "outcome")
REQUEST_DURATION: Final = _histogram(
    "request_duration_seconds", "Time from the acceptance of a request to its answer.", "kind", "job_name", "action"
)
OVERLOADS: Final = _counter("overloads", "Requests that a full queue refused.", "kind", "job_name", "queue")
CLAIMS: Final = _counter("run_claims", "Claimed runs, retries and repeats included.", "kind", "job_name", "cause")
RUNS: Final = _counter("runs", "Attempts of runs that ended.", "kind", "job_name", "outcome")
RUN_DURATION: Final = _histogram("run_duration_seconds", "Duration of an attempt of a run.", "kind", "job_name")
RECOVERIES: Final = _counter("run_recoveries", "Abandoned runs that were delivered again.", "kind", "job_name")
PARKINGS: Final = _counter("instances_parked", "Instances that were parked.", "kind", "job_name", "reason")
LEAVINGS: Final = _counter(
    "instances_left", "Times that code left an instance which it cannot read.", "kind", "job_name", "reason"
)
LATENESS: Final = _histogram("alarm_lateness_seconds", "How late the turn of an alarm began.", "kind", "job_name")
COMMITS: Final = _counter("commits", "Commits that the store answered.", "outcome")
COMMIT_DURATION: Final = _histogram("commit_duration_seconds", "Time until the store answered a commit.")
COMMIT_SIZE: Final = _histogram("commit_size_bytes", "Size of the state, messages and answer of a commit.")
DELIVERIES: Final = _counter("message_deliveries", "Deliveries of messages, by target.", "kind", "job_name", "outcome")
LOST_LEASES: Final = _counter("lost_leases", "Leases that ended before their engine closed the shared store.")

COUNTED: Final = (
    REQUESTS,
    REQUEST_DURATION,
    OVERLOADS,
    CLAIMS,
    RUNS,
    RUN_DURATION,
    RECOVERIES,
    PARKINGS,
    LEAVINGS,
    LATENESS,
    COMMITS,
    COMMIT_DURATION,
    COMMIT_SIZE,
    DELIVERIES,
    LOST_LEASES,
)

# ------------------------------------------------------------ read at a scrape
IN_FLIGHT: Final = _gauge("in_flight", "Accepted and unfinished work.", "work")
INSTANCES: Final = _gauge("instances", "Instances by status.", "kind", "job_name", "status")
COUNTS_COMPLETE: Final = _gauge("counts_complete", "1 if perdure_instances has all instances, 0 while it counts.")
DUE_AGE: Final = _gauge("oldest_due_alarm_age_seconds", "How long the oldest due alarm has been due; 0 if none is.")
MESSAGES: Final = _gauge("waiting_messages", "Messages that wait for their delivery, up to 10000.")
DEAD_LETTERS: Final = _gauge("dead_letters", "Messages that failed too often, up to 10000.")
STORE_UP: Final = _gauge("store_up", "1 if the store answered, 0 if it failed or took longer than 2 seconds.")
STORE_DEGRADED: Final = _gauge("store_degraded", "1 if the store works and reports a problem.")
MEMBERS: Final = _gauge("store_members", "Engines that share the store.")
SHARE: Final = _gauge("store_share", "The part of the work on the store that this engine handles; they add up to 1.")
FILE_SIZE: Final = _gauge("store_file_bytes", "Size of the store's file.")
WAL_SIZE: Final = _gauge("store_wal_bytes", "Size of its write-ahead log.")
CACHE_SIZE: Final = _gauge("store_cache_bytes", "Size of its cache of instances.")
CACHE_LIMIT: Final = _gauge("store_cache_limit_bytes", "The bound of this cache.")
LAG_EVENTS: Final = _gauge("sink_lag_events", "Stored events that a sink has not exported.", "sink")
LAG_AGE: Final = _gauge("sink_lag_seconds", "Age of the oldest of them that the sink has read.", "sink")
SINK_FAILING: Final = _gauge("sink_failing", "1 if the last attempt of the sink failed.", "sink")
INFO: Final = _gauge("info", "The version of the library and the store; always 1.", "version", "store")

READ: Final = (
    IN_FLIGHT,
    INSTANCES,
    COUNTS_COMPLETE,
    DUE_AGE,
    MESSAGES,
    DEAD_LETTERS,
    STORE_UP,
    STORE_DEGRADED,
    MEMBERS,
    SHARE,
    FILE_SIZE,
    WAL_SIZE,
    CACHE_SIZE,
    CACHE_LIMIT,
    LAG_EVENTS,
    LAG_AGE,
    SINK_FAILING,
    INFO,
)

METRICS: Final = (*COUNTED, *READ)
"""Every metric, in the order of the exposition."""


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
