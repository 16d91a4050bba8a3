"""Capacity: the load of a store's instances and arrivals for several numbers of engines, in virtual time.

The engine of production runs, over a store in memory. So many engines are one with so many times the slots. Services
take the time that was measured, or that you give.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias
from xml.sax.saxutils import escape

import attrs
from returns.result import Failure, Result, Success

from perdure.app import App, for_rehearsal
from perdure.client.client import Client, gateway_of
from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute
from perdure.kinds.workflow.journal import row_of
from perdure.programs import default_handler
from perdure.programs.drivers import settle_answer
from perdure.programs.instructions import ServiceCall
from perdure.rehearsal.answers import NoAnswers, Performer, ServiceAnswers, recorded_in
from perdure.rehearsal.future import NoServices
from perdure.rehearsal.image import Image, share_of
from perdure.rehearsal.past import MOST_REQUESTS, PastEvents, PastRequest, number_of, request_in
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation
from perdure.stores.at_rest import StoreReader
from perdure.stores.contract import Answered, NotCommitted, Store, overlay
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.memory import MemoryBackend
from perdure.testing.histories import decoded
from perdure.testing.job_laws import DrawnRequest, request_of
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidId, InvalidInput
from perdure.values.event import DebounceStarted, Event, JobExecuted, JobStarted
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.times import Duration, duration_ms, format_duration
from perdure.values.transition import Purge, Put, Transition

ENGINES: Final = (1, 2, 4)
"""The numbers of engines that are simulated by default."""

MAX_ENGINES: Final = 64
"""The greatest number of engines that is simulated."""

ASSUMED_MS: Final = 100
"""How long a call takes of which nothing was measured, in milliseconds."""

MOST_MEASURED: Final = 1_000
"""How many durations of one effect, or of one job's runs, are kept: the newest."""

MOST_RUNS: Final = 1_000_000
"""How many runs a simulation may have."""

MOST_ARRIVING: Final = 100_000
"""How many requests of the history a simulation repeats."""

NO_TIME: Final = "the time that engines and the database need, and chunks of streams"
"""The parts of a real load that no simulation has."""

_BUCKETS: Final = 120
_MINUTE_MS: Final = 60_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

DurationSource: TypeAlias = Literal["given", "measured", "run", "assumed"]
"""Where the duration of a call is from: given, the same effect in a journal, a run of the job, or nothing."""


# ---------------------------------------------------------------- the past
@attrs.frozen
class MeasuredLoad:
    """Arrivals and durations of a store.

    Attributes:
        arrivals: the requests in the history, in order.
        window_ms: how long the history is, in milliseconds. A history shorter than a minute counts as a minute.
        effects: durations of effects in milliseconds, from journals of workflows.
        runs: durations of runs in milliseconds, by job, from the history.
        since_ms: when the history begins, in milliseconds since 1970 UTC.
        begun: the instances whose beginning it has.
    """

    __repr__ = fields_in_line

    arrivals: tuple[PastRequest, ...] = ()
    window_ms: int = 0
    effects: Mapping[str, tuple[int, ...]] = attrs.Factory(dict[str, tuple[int, ...]])
    runs: Mapping[str, tuple[int, ...]] = attrs.Factory(dict[str, tuple[int, ...]])
    since_ms: int = 0
    begun: frozenset[Address] = frozenset()


def measured_in(
    reader: StoreReader, image: Image, *, records: RecordCipher | None = None, most: int = MOST_REQUESTS
) -> MeasuredLoad:
    """Read the arrivals and the durations of a store. Nothing is written.

    Args:
        reader: an open reader.
        image: the image of the same store.
        records: decrypts rows. None if the app does not encrypt.
        most: how many requests are kept, from the oldest on. The measured time ends with the last of them.

    Raises:
        StoreError: the store cannot be read.
    """
    reading = _Measured(most)
    with reader.moment() as page_read:
        for event in PastEvents(reader, records, page_read).all():
            reading.add(event)
    effects: defaultdict[str, list[int]] = defaultdict(list)
    for address, (_, journal) in image.instances.items():
        for name, took_ms in _durations(journal) if address.kind == "workflow" else ():
            effects[name].append(took_ms)
    return MeasuredLoad(
        tuple(reading.arrivals),
        # A history of a second would be repeated 86,400 times a day.
        max(_MINUTE_MS, reading.last_ms - reading.first_ms),
        {name: tuple(each[-MOST_MEASURED:]) for name, each in effects.items()},
        {name: tuple(each[-MOST_MEASURED:]) for name, each in reading.runs.items()},
        reading.first_ms,
        frozenset(reading.begun),
    )


@attrs.define
class _Measured:
    """Collects the requests from outside and the durations of runs."""

    most: int
    arrivals: list[PastRequest] = attrs.Factory(list[PastRequest])
    runs: defaultdict[str, list[int]] = attrs.Factory(lambda: defaultdict[str, list[int]](list))
    begun: set[Address] = attrs.Factory(set[Address])
    first_ms: int = 0
    last_ms: int = 0

    def add(self, event: Event) -> None:
        is_full = len(self.arrivals) >= self.most
        if isinstance(event, JobStarted | DebounceStarted):
            with suppress(InvalidId):
                self.begun.add(Address.parse(event.address))
        elif isinstance(event, JobExecuted):
            # Without `Address.parse`: there is one such event for each run, and only the job is needed.
            kind, name, _ = event.address.split(":", 2)
            self.runs[f"{kind}:{name}"].append(event.duration_ms)
        request = None if is_full else request_in(event)
        # The sender of a message sends it again, if it is here.
        if request is not None and request.told_by is None:
            self.arrivals.append(request)
        self.first_ms = self.first_ms or event.at_ms
        # A time that is longer than that of the kept requests would lower their rate.
        if not is_full:
            self.last_ms = max(self.last_ms, event.at_ms)


def _durations(journal: Sequence[str]) -> Iterator[tuple[str, int]]:
    for body in journal:
        try:
            row = row_of(body)
        except InvalidInput:
            continue
        # A failed call took its time, too.
        if row.form in ("done", "failed"):
            yield row.name, max(0, row.at_ms - row.began_ms)


# ---------------------------------------------------------------- options and results
def _as_ms(durations: Mapping[str, Duration]) -> dict[str, int]:
    return {name: duration_ms(each, what=f"duration of {name}", minimum_ms=0) for name, each in durations.items()}


@attrs.frozen(kw_only=True)
class CapacityOptions:
    """The length and the engines of a simulation.

    Attributes:
        lasting: how long, in virtual time.
        engines: the numbers of engines, each from 1 to 64.
        durations: how long calls take, by effect. By default as measured.
        costs: the cost of one call, by effect, in any unit.
        arrivals: how many times the arrivals of the history come: 1 as often, 2 twice, 0 none.
        seed: decides durations, jitter and ids.
    """

    __repr__ = fields_in_line

    lasting: Duration
    engines: tuple[int, ...] = ENGINES
    durations: Mapping[str, int] = attrs.field(factory=dict[str, int], converter=_as_ms)
    costs: Mapping[str, float] = attrs.Factory(dict[str, float])
    arrivals: float = 1.0
    seed: int = 0
    lasting_ms: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "lasting_ms", duration_ms(self.lasting, what="length of a simulation", minimum_ms=1))
        if not self.engines or any(not 1 <= each <= MAX_ENGINES for each in self.engines):
            raise DefinitionError("engines of a simulation", self.engines, f"numbers from 1 to {MAX_ENGINES}")
        if not 0 <= self.arrivals <= MAX_ENGINES:
            raise DefinitionError("arrivals of a simulation", self.arrivals, f"a factor from 0 to {MAX_ENGINES}")
        for name, cost in self.costs.items():
            if not cost >= 0:
                raise DefinitionError(f"cost of {name}", cost, "a number, 0 or more")


@attrs.frozen(kw_only=True)
class CapacityLoad:
    """The load with one number of engines.

    Attributes:
        engines: how many.
        runs: how many runs began.
        late_ms: how long runs began after they were due: for half of them, for 99 % and the longest.
        mean_running: how many runs were in progress, on average.
        most_running: how many were in progress at most.
        waiting: how many runs were due and had not begun at the end.
        commits: how many turns the store committed.
        busiest: the commits in the busiest minute.
        rows: the rows that these wrote, without the history.
        calls: calls of services, by effect.
        spend: their costs, by effect.
        late_over_time: the longest lateness in each of 120 equal parts of the time, in milliseconds.
    """

    __repr__ = fields_in_line

    engines: int
    runs: int
    late_ms: tuple[int, int, int]
    mean_running: float
    most_running: int
    waiting: int
    commits: int
    busiest: int
    rows: int
    calls: Mapping[str, int]
    spend: Mapping[str, float]
    late_over_time: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Capacity:
    """The load of a store, for several numbers of engines.

    Attributes:
        options: the options.
        loads: one for each number of engines.
        durations: where the duration of each effect is from, and the average in milliseconds.
        arrivals: how many requests the history has.
        window_ms: how long the history is, in milliseconds. It is repeated until the end.
        refused: arrivals that the engine refused, or that could not be decoded.
        left_out: the parts of a real load that the simulation does not have, or counts in another way.
    """

    __repr__ = fields_in_line

    options: CapacityOptions
    loads: tuple[CapacityLoad, ...]
    durations: Mapping[str, tuple[DurationSource, float]]
    arrivals: int
    window_ms: int = 0
    refused: int = 0
    left_out: tuple[str, ...] = (NO_TIME,)

    def lines(self) -> Iterator[str]:
        """Yield the table, and how the durations and the arrivals are known."""
        rows = self._rows()
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        for name, *cells in rows:
            numbers = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            yield f"{name.ljust(widths[0])}  {numbers}"
        yield ""
        for name, (source, mean_ms) in sorted(self.durations.items()):
            yield f"{name} takes {_time(mean_ms)}: {_SOURCES[source]}"
        if self.options.arrivals and not self.arrivals:
            yield 'no arrivals: no job of this history says accepted_in_events="payload"'
        if self.options.arrivals and self.arrivals:
            rounds = self.options.lasting_ms / max(_MINUTE_MS, self.window_ms)
            yield f"arrivals: {self.arrivals:,} requests in {_time(self.window_ms)} of history, {rounds:,.1f} times"
        if self.refused:
            yield f"{self.refused:,} arrivals were refused"
        yield from (f"not simulated: {each}" for each in self.left_out)

    def _rows(self) -> list[list[str]]:
        loads, seconds = self.loads, self.options.lasting_ms / 1_000
        table: list[list[str]] = [
            ["", *(f"{one.engines} engine{'s' if one.engines > 1 else ''}" for one in loads)],
            ["runs", *(f"{one.runs:,}" for one in loads)],
            *(
                [name, *(_time(one.late_ms[place]) for one in loads)]
                for place, name in enumerate(("late, half of them", "late, 99 %", "late, the longest"))
            ),
            ["in progress, on average", *(_number(one.mean_running) for one in loads)],
            ["in progress, most", *(f"{one.most_running:,}" for one in loads)],
            ["due at the end", *(f"{one.waiting:,}" for one in loads)],
            ["commits per second", *(_number(one.commits / seconds) for one in loads)],
            ["commits per second, busiest minute", *(_number(one.busiest / 60) for one in loads)],
            ["rows per second", *(_number(one.rows / seconds) for one in loads)],
        ]
        names = sorted({name for one in loads for name in one.spend})
        return table + [[f"cost of {name}", *(f"{one.spend.get(name, 0):,.2f}" for one in loads)] for name in names]

    def data(self) -> dict[str, Any]:
        """Return the same as plain data, for JSON."""
        return {
            "seconds": self.options.lasting_ms / 1_000,
            "arrivals": self.arrivals,
            "history_seconds": self.window_ms / 1_000,
            "refused": self.refused,
            "not_simulated": list(self.left_out),
            "durations": {name: {"from": source, "ms": ms} for name, (source, ms) in sorted(self.durations.items())},
            "loads": [attrs.asdict(one) for one in self.loads],
        }

    def svg(self) -> str:
        """Return a picture: the longest lateness over time, one line for each number of engines."""
        most = max(1, *(late for one in self.loads for late in one.late_over_time))
        lines = [
            f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{_points(one.late_over_time, most)}"/>'
            f'<text x="{80 + 130 * place}" y="24" fill="{color}">{one.engines} engine{"s" * (one.engines > 1)}</text>'
            for place, (one, color) in enumerate(zip(self.loads, _COLORS * len(self.loads), strict=False))
        ]
        title = escape(f"the longest lateness, over {self.options.lasting}")
        return "\n".join(
            [
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 300" font-family="sans-serif">',
                f"<title>{title}</title>",
                '<path d="M80 40V260H700" fill="none" stroke="#888"/>',
                f'<text x="8" y="48">{_time(most)}</text><text x="50" y="264">0</text>',
                f'<text x="80" y="286">{title}</text>',
                *lines,
                "</svg>",
                "",
            ]
        )


_COLORS: Final = ("#b3261e", "#c77700", "#1b6e3c", "#2b5fb3", "#6b3fa0")
_SOURCES: Final[Mapping[DurationSource, str]] = {
    "given": "given",
    "measured": "measured in journals",
    "run": "measured as the runs of its job, by the first call of each",
    "assumed": "assumed, nothing was measured",
}


def _points(values: Sequence[int], most: int) -> str:
    return " ".join(
        f"{80 + 620 * place / (len(values) - 1):.1f},{260 - 220 * one / most:.1f}" for place, one in enumerate(values)
    )


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 1_000 else f"{number:.3g}"  # noqa: PLR2004 - four digits


def _time(milliseconds: float) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds >= size:
            return f"{milliseconds / size:,.3g} {unit}"
    return f"{milliseconds:.3g} ms"


# ---------------------------------------------------------------- the simulation
def capacity(
    app: App[Any],
    *,
    image: Image,
    past: MeasuredLoad,
    options: CapacityOptions,
    answers: ServiceAnswers | None = None,
    most: int = MOST_RUNS,
    most_arriving: int = MOST_ARRIVING,
) -> Capacity:
    """Simulate the instances of a store and the arrivals of its history, with each number of engines.

    Args:
        app: the app.
        image: the contents of the store.
        past: its arrivals and durations.
        options: for how long, with which engines.
        answers: how services answer. By default recorded outcomes, else the first success of each declared type.
        most: how many runs each simulation may have.
        most_arriving: how many requests may arrive in each simulation.

    Raises:
        NoAnswers: effects have no answer.
        DefinitionError: an app cannot be opened, there are more runs, or more requests would arrive.
    """
    _check_arriving(past, options, most_arriving)
    loads, meter = list[CapacityLoad](), None
    for engines in options.engines:
        # A new meter and performer for each number of engines: they count, and the counts of one must not meet another.
        meter = _Meter(
            app.served, past, options, Performer(answers or ServiceAnswers(), recorded_in(image), options.seed), most
        )
        loads.append(meter.simulated(app, image, engines))
        if meter.performer.missing:
            raise NoAnswers(dict(meter.performer.missing))
    if meter is None:
        raise TypeError(options.engines)
    durations: dict[str, tuple[DurationSource, float]] = {
        name: (source, total / max(1, number)) for name, (source, total, number) in meter.durations.items()
    }
    return Capacity(
        options=options,
        loads=tuple(loads),
        durations=durations,
        arrivals=len(past.arrivals),
        window_ms=past.window_ms,
        refused=meter.refused,
        left_out=tuple(_left_out(app, options)),
    )


def _check_arriving(past: MeasuredLoad, options: CapacityOptions, most: int) -> None:
    """Refuse a simulation that would take hours: a short history with many requests, repeated for days."""
    arriving = len(past.arrivals) * options.arrivals * options.lasting_ms / max(_MINUTE_MS, past.window_ms)
    if arriving > most:
        longest_ms = int(options.lasting_ms * most / arriving)
        shorter = format_duration(max(longest_ms - longest_ms % _MINUTE_MS, 1_000))
        expected = f"at most {most:,}: simulate up to {shorter}, or only a part of the arrivals"
        raise DefinitionError("arrivals of a simulation", round(arriving), expected)


def _left_out(app: App[Any], options: CapacityOptions) -> Iterator[str]:
    yield NO_TIME
    for (kind, name), job in app.served.items():
        if job.lanes is not None and job.lanes.lane_slots is not None and max(options.engines) > 1:
            yield f"workers_per_key of {kind}:{name} in several engines, which have it each"
        for use in job.plan.limits:
            yield f"another number of the limit {use.limit.name} than that of the code"


@attrs.define
class _Meter:
    """Measures one simulation."""

    jobs: Mapping[tuple[str, str], AnyDefinition]
    past: MeasuredLoad
    options: CapacityOptions
    performer: Performer
    most: int
    durations: dict[str, tuple[DurationSource, int, int]] = attrs.Factory(dict[str, tuple[DurationSource, int, int]])
    refused: int = 0
    _calls: Counter[str] = attrs.Factory(Counter[str])
    _late: list[int] = attrs.Factory(list[int])
    _late_over_time: list[int] = attrs.Factory(lambda: [0] * _BUCKETS)
    _asked: dict[Address, int] = attrs.Factory(dict[Address, int])
    _arrived: int = 0
    _running: int = 0
    _most_running: int = 0
    _area: int = 0
    _since_ms: int = 0
    _start_ms: int = 0
    _commits: int = 0
    _minutes: Counter[int] = attrs.Factory(Counter[int])
    _rows: int = 0
    _last: dict[Address, Instance | None] = attrs.Factory(dict[Address, Instance | None])
    _first_calls: set[tuple[Address, str, int]] = attrs.Factory(set[tuple[Address, str, int]])

    def simulated(self, app: App[Any], image: Image, engines: int) -> CapacityLoad:
        start_ms, until_ms = image.at_ms, image.at_ms + self.options.lasting_ms
        simulation = Simulation(seed=self.options.seed, start=_EPOCH + timedelta(milliseconds=start_ms), order="fifo")
        backend = MemoryBackend()
        own = [row for address, row in image.instances.items() if (address.kind, address.name) in self.jobs]
        self._last = {instance.address: instance for instance, _ in own}
        backend.fill(own, image.messages, image.holds, epoch=image.epoch)
        self._since_ms = self._start_ms = start_ms
        runtime = attrs.evolve(simulation.runtime, log=_forget)
        services = self.performer.answers.services
        opened = for_rehearsal(app, NoServices() if services is None else services, engines=engines).open(
            self._watching(backend, runtime, start_ms),
            runtime=runtime,
            perform=self._perform(runtime),
            debug=False,
        )
        try:
            client = simulation.run(opened.__aenter__())
            for at_ms, arrival, id_ in self._arrivals(image, start_ms, until_ms):
                if at_ms > simulation.now_ms:
                    simulation.advance(at_ms - simulation.now_ms)
                self._ask(client, arrival, id_, runtime)
                self._check_runs()
            while simulation.now_ms < until_ms:
                simulation.advance(min(3_600_000, until_ms - simulation.now_ms))
                self._check_runs()
        finally:
            simulation.close()
        self._count(until_ms, 0)
        return self._load(engines, until_ms)

    def _check_runs(self) -> None:
        if len(self._late) > self.most:
            expected = "fewer: a shorter time, or a part of the store"
            raise DefinitionError("runs of a simulation", f"more than {self.most:,}", expected)

    # ------------------------------------------------------------ arrivals
    def _arrivals(self, image: Image, start_ms: int, until_ms: int) -> Iterator[tuple[int, PastRequest, str]]:
        """Yield the arrivals in order, repeated until the end, each with the id of its instance."""
        window_ms, factor = max(_MINUTE_MS, self.past.window_ms), self.options.arrivals
        if not self.past.arrivals or not factor:
            return
        round_ = 0
        while start_ms + round_ * window_ms < until_ms:
            for arrival in self.past.arrivals:
                at_ms = start_ms + round_ * window_ms + arrival.at_ms - self.past.since_ms
                # By address: with a factor of 1.5, half of the instances come twice, each with all of its requests.
                share = share_of(number_of(self.options.seed, "arrival", round_, arrival.address))
                for number in range(int(factor) + (share < factor % 1)):
                    # An instance from before the history gets its requests itself, in each round. More of them, and
                    # those to instances that began in the history, go to instances of their own.
                    is_known = arrival.address not in self.past.begun and number == 0 and arrival.address in image
                    id_ = arrival.address.id if is_known else f"{arrival.address.id[:400]}~{round_}.{number}"
                    if at_ms < until_ms:
                        yield at_ms, arrival, id_
            round_ += 1

    def _ask(self, client: Client, arrival: PastRequest, id_: str, runtime: Runtime) -> None:
        job = self.jobs.get((arrival.address.kind, arrival.address.name))
        spec = None if job is None else job.plan.offered.get(arrival.action)
        if job is None or spec is None:
            self.refused += 1
            return
        try:
            given = (
                decoded(spec.input, arrival.payload.encode()) if spec.input is not None and arrival.payload else None
            )
        except InvalidInput:
            self.refused += 1
            return
        # Before the request: the lateness of its run counts from here.
        self._asked[job.address(id_)] = runtime.now_ms()
        ask = DrawnRequest(arrival.action, id_, given)
        key = f"arrival-{self._arrived}"
        self._arrived += 1
        # Through the gateway of callers, so that the same limits refuse requests as in production.
        call = gateway_of(client).request(job, id_, lambda limits: request_of(job, ask, key, limits))
        runtime.spawn(self._asking(call), name="arrival")

    async def _asking(self, call: Call[Any, Any]) -> None:
        self.refused += isinstance(await result_of(call), Failure)

    # ------------------------------------------------------------ services
    def _perform(self, runtime: Runtime) -> Any:
        def perform(instruction: object, services: Any, execute: Execute) -> object:
            if type(instruction) is not ServiceCall:
                return default_handler(instruction, services)
            self._calls[instruction.name] += 1
            address, run = execute.instance.address, (execute.claim.run_id, execute.claim.attempt)
            try:
                elapsed_ms = runtime.now_ms() - self._start_ms
                answer = self.performer.answer(instruction, address, self._calls[instruction.name], elapsed_ms)
            except LookupError:
                return runtime.future()  # it never comes: the simulation is refused at the end
            took_ms = self._took_ms(instruction.name, address, (address, *run))
            return answer if took_ms == 0 else _later(answer, took_ms, runtime)

        return perform

    def _took_ms(self, name: str, address: Address, run: tuple[Address, str, int]) -> int:
        """Return how long a call takes."""
        # A run's duration is that of all its calls together. The first one takes it, the others take no time.
        is_first = run not in self._first_calls
        source: DurationSource = "assumed"
        self._first_calls.add(run)
        given = self.options.durations.get(name)
        # The same call takes the same time with each number of engines: only the waiting differs.
        drawn = number_of(self.options.seed, "duration", name, *run)
        took_ms = ASSUMED_MS
        if given is not None:
            source, took_ms = "given", given
        elif measured := self.past.effects.get(name):
            source, took_ms = "measured", measured[drawn % len(measured)]
        elif runs := self.past.runs.get(f"{address.kind}:{address.name}"):
            source, took_ms = "run", runs[drawn % len(runs)] if is_first else 0
        _, total, number = self.durations.get(name, (source, 0, 0))
        self.durations[name] = source, total + took_ms, number + 1
        return took_ms

    # ------------------------------------------------------------ commits
    def _watching(self, backend: MemoryBackend, runtime: Runtime, start_ms: int) -> Store:
        store = backend.open()

        def commit(transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
            before = [backend.instance(each.address) for each in transitions]

            def told(answers: Sequence[Result[Fence, NotCommitted]], /) -> None:
                for row, transition, answer in zip(before, transitions, answers, strict=True):
                    if type(answer) is Success:
                        self._committed(row, transition, runtime.now_ms(), start_ms)
                answered(answers)

            store.commit(transitions, told)

        return overlay(store, commit=commit)

    def _committed(self, before: Instance | None, transition: Transition, now_ms: int, start_ms: int) -> None:
        self._commits += 1
        self._minutes[now_ms // _MINUTE_MS] += 1
        journal = transition.journal
        self._rows += (
            len(transition.messages) + len(transition.remember) + (0 if journal is None else len(journal.bodies))
        )
        write = transition.write
        if not isinstance(write, Put | Purge):
            return
        self._rows += 1
        after = write.instance if isinstance(write, Put) else None
        self._last[transition.address] = after
        had, has = _claims(before), _claims(after)
        if after is not None and after.claim is not None and _name_of(after.claim) not in had:
            self._began(before, after.claim, transition.address, now_ms, start_ms)
        if len(has) != len(had):
            self._count(now_ms, len(has) - len(had))

    def _began(self, before: Instance | None, claim: Claim, address: Address, now_ms: int, start_ms: int) -> None:
        asked_ms = self._asked.pop(address, None)
        if claim.action is not None:
            since_ms = now_ms if asked_ms is None else asked_ms
        else:
            # An instance in a lane has no alarm while it waits: its rank says since when.
            due_ms = None if before is None else before.rank_ms if before.lane is not None else before.due_ms
            # Not from before the start: how late the store was already is not a result of the simulation.
            since_ms = now_ms if due_ms is None else max(due_ms, start_ms)
        late_ms = max(0, now_ms - since_ms)
        self._late.append(late_ms)
        place = min(_BUCKETS - 1, (now_ms - start_ms) * _BUCKETS // self.options.lasting_ms)
        self._late_over_time[place] = max(self._late_over_time[place], late_ms)

    def _count(self, now_ms: int, change: int) -> None:
        # The area under the number of runs, divided by the time, is the average.
        self._area += self._running * (now_ms - self._since_ms)
        self._since_ms = now_ms
        self._running += change
        self._most_running = max(self._most_running, self._running)

    # ------------------------------------------------------------ the result
    def _load(self, engines: int, until_ms: int) -> CapacityLoad:
        late = sorted(self._late) or [0]
        rows = [row for row in self._last.values() if row is not None and not _claims(row)]
        due = [row.rank_ms if row.lane is not None else row.due_ms for row in rows]
        return CapacityLoad(
            engines=engines,
            runs=len(self._late),
            late_ms=(late[len(late) // 2], late[len(late) * 99 // 100], late[-1]),
            mean_running=self._area / self.options.lasting_ms,
            most_running=self._most_running,
            waiting=sum(1 for at_ms in due if at_ms is not None and at_ms < until_ms),
            commits=self._commits,
            busiest=max(self._minutes.values(), default=0),
            rows=self._rows,
            calls=dict(self._calls),
            spend={name: cost * self._calls[name] for name, cost in sorted(self.options.costs.items())},
            late_over_time=tuple(self._late_over_time),
        )


def _name_of(claim: Claim) -> tuple[str, int, int]:
    """Return the name of an attempt and its delivery."""
    return claim.run_id, claim.attempt, claim.deliveries


def _claims(row: Instance | None) -> set[tuple[str, int, int]]:
    """Return the names of the runs and events that are in progress."""
    claims = () if row is None else (row.claim, row.event_claim)
    return {_name_of(claim) for claim in claims if claim is not None}


async def _later(answer: object, latency_ms: int, runtime: Runtime) -> object:
    await runtime.sleep(latency_ms)
    return await settle_answer(answer, None, runtime)


def _forget(_: object) -> None:
    """Write no log."""
