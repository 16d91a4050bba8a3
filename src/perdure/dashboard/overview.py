"""The overview: counts by status, the last hour, overdue instances, failures, the store and the engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import htpy as h

from perdure.dashboard.page import (
    Frame,
    Page,
    Series,
    bars,
    count,
    error_line,
    fields,
    held,
    instance_link,
    link_text,
    moment,
    numeric,
    panel,
    span_text,
    status,
    still_counting,
    table,
)
from perdure.stores.values import Health
from perdure.telemetry.activity import Minute, RecentFailure
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.listings import (
    LISTED_STATUSES,
    MAX_COUNTED,
    EngineMember,
    InFlight,
    LimitNumbers,
    ListedStatus,
    NamedLimit,
)
from perdure.values.status import Hold

_SURVIVED: Final = {"none": "nothing", "relaxed": "a crash of the process", "full": "a loss of power"}


@attrs.frozen(kw_only=True)
class CountedJob:
    """One job's instances.

    Attributes:
        served: whether the engine serves it.
        by_status: how many instances it has, by status.
        hold: whether it is held: no run begins.
    """

    kind: str
    name: str
    served: bool
    by_status: dict[ListedStatus, int]
    hold: Hold = "released"


@attrs.frozen(kw_only=True)
class Overdue:
    """An instance whose alarm should have fired.

    Attributes:
        late_ms: how late it is, at the instant at which the store was asked for the due ones. Never negative.
    """

    address: Address
    late_ms: int


def overdue_of(due: Iterable[Instance], now_ms: int) -> tuple[Overdue, ...]:
    """Return the overdue instances among those that were due at an instant."""
    return tuple(
        Overdue(address=each.address, late_ms=now_ms - each.due_ms)
        for each in due
        if each.due_ms is not None and each.due_ms < now_ms
    )


@attrs.frozen(kw_only=True)
class EngineFacts:
    """The engine.

    Attributes:
        epoch: how many times the store has been opened.
        durability: the failures that a commit survives.
        concurrency: runs at the same time.
        phase: whether it accepts requests.
    """

    version: str
    store: str
    epoch: int
    durability: str
    concurrency: int
    phase: str


@attrs.frozen(kw_only=True)
class Overview:
    """The page's data.

    Attributes:
        jobs: the instances by job and status.
        complete: whether all instances were counted.
        age_ms: how long ago.
        minutes: the last hour.
        troubles: the newest failures since the engine started.
        overdue: the instances that are overdue, the oldest first, at most 10.
        demand: the work that waits for an engine or runs, as ``Demand.total``.
        messages: the messages that wait for delivery, at most `MAX_COUNTED`.
        dead_letters: the dead letters, at most `MAX_COUNTED`.
        in_flight: the work in progress.
        members: the engines that share the store. Empty if one owns it.
    """

    jobs: tuple[CountedJob, ...]
    complete: bool
    minutes: tuple[Minute, ...]
    troubles: tuple[RecentFailure, ...]
    overdue: tuple[Overdue, ...]
    demand: int
    messages: int
    dead_letters: int
    health: Health
    in_flight: InFlight
    engine: EngineFacts
    members: tuple[EngineMember, ...] = ()
    limits: tuple[NamedLimit, ...] = ()
    age_ms: int = 0


def overview_page(frame: Frame, view: Overview, /) -> Page:
    """Return the page."""
    return Page(
        title="Overview",
        section="overview",
        body=[
            _numbers(frame, view),
            h.div(".grid.two")[_throughput(view.minutes), _lateness(view.minutes)],
            _jobs(frame, view),
            _limits(view.limits) if view.limits else None,
            h.div(".grid.two")[_troubles(frame, view.troubles), _overdue(frame, view.overdue)],
            h.div(".grid.two")[_store(view), _engine(view)],
            _members(frame, view) if view.members else None,
        ],
        command="perdure counts; perdure demand; perdure health",
        route="GET /v1/counts",
    )


def _numbers(frame: Frame, view: Overview) -> h.Element:
    """Show one number for each status, which links the instances, and one for the dead letters."""
    totals = {each: sum(job.by_status.get(each, 0) for job in view.jobs) for each in LISTED_STATUSES}
    links = frame.links
    # Most apps never have orphaned instances.
    shown = [
        h.a(class_=f"number {'quiet' if not number else ''}", href=links.page("/instances", status=each))[
            h.b[f"{number:,}"], status(each)
        ]
        for each, number in totals.items()
        if number or each != "orphaned"
    ]
    # The number is for every reader; the letters, with their payloads, are for operators.
    looks = f"number {'quiet' if not view.dead_letters else ''}"
    box = h.a(class_=looks, href=links.page("/dead-letters")) if frame.may("operate") else h.span(class_=looks)
    letters = box[h.b[_up_to(view.dead_letters)], h.span(".status.bad")["dead letters"]]
    demand = h.a(class_=f"number {'quiet' if not view.demand else ''}", href=links.page("/jobs"))[
        h.b[f"{view.demand:,}"], h.span(".status", title="work that waits for an engine or runs")["demand"]
    ]
    note = still_counting(view.complete, view.age_ms)
    return h.section("#numbers", aria_label="Instances by status")[h.div(".numbers")[shown, letters, demand], note]


def _up_to(number: int) -> str:
    return f"{number:,}" if number < MAX_COUNTED else f"{MAX_COUNTED:,}+"


def _throughput(minutes: Sequence[Minute]) -> h.Element:
    executed, failed = [minute.executed for minute in minutes], [minute.failed for minute in minutes]
    highest = max((good + bad for good, bad in zip(executed, failed, strict=True)), default=0)
    return panel(
        "Runs per minute",
        bars(
            [
                Series(name=f"succeeded {sum(executed):,}", tone="good", values=executed),
                Series(name=f"failed attempts {sum(failed):,}", tone="bad", values=failed),
            ],
            label=f"In the last hour {count(sum(executed), 'run')} succeeded and {count(sum(failed), 'attempt')} "
            f"failed; at most {highest:,} in a minute.",
            titles=[f"{_time(minute)}: {minute.executed:,} succeeded, {minute.failed:,} failed" for minute in minutes],
            top=f"{highest:,}",
            ends=("1 hour ago", "now"),
        ),
    )


def _lateness(minutes: Sequence[Minute]) -> h.Element:
    late = [minute.latest_ms for minute in minutes]
    latest, alarms = max(late, default=0), sum(minute.alarms for minute in minutes)
    return panel(
        "Lateness of alarms",
        bars(
            [Series(name=f"latest of {count(alarms, 'alarm')}", tone="busy", values=late)],
            label=f"In the last hour {count(alarms, 'alarm')} fired, at most {span_text(latest)} late.",
            titles=[f"{_time(minute)}: at most {span_text(minute.latest_ms)} late" for minute in minutes],
            top=span_text(latest),
            ends=("1 hour ago", "now"),
        ),
    )


def _time(minute: Minute) -> str:
    of_day = minute.start_ms // 60_000 % 1_440
    return f"{of_day // 60:02}:{of_day % 60:02} UTC"


def _jobs(frame: Frame, view: Overview) -> h.Element:
    used: list[ListedStatus] = [
        each for each in LISTED_STATUSES if each != "orphaned" or any(not job.served for job in view.jobs)
    ]
    rows = [
        h.tr[
            h.th(scope="row")[
                h.a(href=frame.links.job(job.kind, job.name))[f"{job.kind}:{job.name}"]
                if job.served
                else f"{job.kind}:{job.name}",
                held(job.hold),
            ],
            [h.td(".count")[_cell(frame, job, each)] for each in used],
        ]
        for job in view.jobs
    ]
    return panel(
        "Jobs",
        table(
            ["Job", *map(numeric, used)],
            rows,
            caption="Instances by job and status",
            empty="The engine serves no job yet.",
        ),
        id_="by-job",
    )


def _cell(frame: Frame, job: CountedJob, each: ListedStatus) -> h.Node:
    number = job.by_status.get(each, 0)
    if not number:
        return h.span(".none")["0"]
    url = frame.links.page("/instances", kind=job.kind, job=job.name, status=each)
    return h.a(href=url, aria_label=f"{number} {each} instances of {job.kind}:{job.name}")[f"{number:,}"]


def _troubles(frame: Frame, troubles: Sequence[RecentFailure]) -> h.Element:
    rows = [
        h.tr[
            h.td[moment(frame, each.at_ms)],
            h.td[link_text(frame, each.address)],
            h.td[h.span(".cut", title=f"{each.error}: {each.message}")[error_line(each.error, each.message)]],
        ]
        for each in troubles[:8]
    ]
    empty = "Nothing has failed since this engine started."
    return panel("Newest failures", table(["When", "Instance", "Error"], rows, caption="Newest failures", empty=empty))


def _overdue(frame: Frame, overdue: Sequence[Overdue]) -> h.Element:
    rows = [
        h.tr[
            h.td[span_text(each.late_ms)],
            h.td[instance_link(frame, each.address)],
        ]
        for each in overdue
    ]
    return panel(
        "Overdue",
        table(["Late by", "Instance"], rows, caption="Overdue instances", empty="No alarm is overdue."),
        note="the oldest first",
    )


def _store(view: Overview) -> h.Element:
    health = view.health
    cache = f"{health.cache_bytes / 1_048_576:.1f} of {health.max_cache_bytes / 1_048_576:.0f} MiB"
    return panel(
        "Store",
        fields(
            [
                ("health", status(health.state)),
                ("problem", health.detail or None),
                ("cache", cache if health.max_cache_bytes else "none"),
                ("messages in delivery", _up_to(view.messages)),
                ("messages to jobs that are not served", f"{health.unserved_messages:,}"),
            ]
        ),
    )


def _limits(limits: Sequence[NamedLimit]) -> h.Element:
    rows = [
        h.tr[
            h.th(scope="row")[each.name],
            h.td(".prose")[_numbers_of(each.current), " (changed)" if each.current != each.declared else None],
            [h.td(".count")[f"{number:,}"] for number in (each.in_use, each.waiting, each.keys, each.leased)],
            h.td(".prose")[", ".join(f"{key.key}: {key.in_use:,} + {key.waiting:,}" for key in each.busiest)],
        ]
        for each in limits
    ]
    return panel(
        "Limits",
        table(
            [
                *(
                    "Limit",
                    "Numbers",
                    numeric("In use"),
                    numeric("Waiting"),
                    numeric("Keys"),
                    numeric("Of all engines"),
                ),
                "Busiest keys: in use + waiting",
            ],
            rows,
            caption="Limits with a name",
            empty="",
        ),
        id_="limits",
        note="perdure set-limit changes one",
    )


def _numbers_of(numbers: LimitNumbers) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.given.items())


def _members(frame: Frame, view: Overview) -> h.Element:
    rows = [
        h.tr[
            h.th(scope="row")[member.label or "?"],
            h.td[_member_state(member)],
            h.td[moment(frame, member.joined_ms)],
            h.td(".count")[f"{member.share:.0%}"],
            h.td(".prose")[", ".join(f"{job.kind}:{job.name}\u00a0v{job.state_version}" for job in member.served)],
        ]
        for member in view.members
    ]
    own = next((member.label for member in view.members if member.epoch == view.engine.epoch), "")
    return panel(
        "Engines",
        table(
            ["Process", "State", "Since", numeric("Share"), "Serves"],
            rows,
            caption="Engines that share the store",
            empty="",
        ),
        id_="members",
        note=f"this one is {own}" if own else "",
    )


def _member_state(member: EngineMember) -> h.Node:
    if member.lease_left_ms < 0:
        return h.span(".status.bad")[f"silent: its lease ended {span_text(-member.lease_left_ms)} ago"]
    if not member.served:
        return h.span(".status")["stopping"]
    return h.span(".status.good")[f"lease for {span_text(member.lease_left_ms)}"]


def _engine(view: Overview) -> h.Element:
    engine, work = view.engine, view.in_flight
    return panel(
        "Engine",
        fields(
            [
                ("version", engine.version or "not installed"),
                ("store", h.span(".address")[engine.store]),
                ("opened", count(engine.epoch, "time")),
                ("a commit survives", _SURVIVED.get(engine.durability, engine.durability)),
                ("requests in progress", f"{work.requests:,}"),
                ("runs in progress", f"{work.programs:,} of {engine.concurrency:,}"),
                ("waiting for a slot", f"{work.waiting_for_slot:,}"),
            ]
        ),
    )
