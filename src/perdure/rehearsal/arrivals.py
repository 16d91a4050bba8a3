"""Arrivals: the requests that come from outside during a rehearsal, repeated from the history or drawn by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import attrs
import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from perdure.app import App
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec
from perdure.rehearsal.difference import duration
from perdure.rehearsal.image import DAY_MS, Image, share_of
from perdure.rehearsal.past import NoArrivals, PastRequest, needs_input, number_of
from perdure.testing.typed import from_type
from perdure.values.address import Address, Job
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import fields_in_line

MOST_ARRIVALS: Final = 25_000
"""How many requests arrive by default: each costs up to two milliseconds of CPU time under both versions."""

LARGEST_ARRIVALS: Final = 1_000_000
"""How many requests may arrive."""

_DRAWN_VALUES: Final = 100
"""How many inputs of each action are drawn. Requests take one of them."""

_MOST_PLANNED: Final = 1_000_000
"""How many repeated requests the limit is taken from."""

_UNCHECKED: Final = (
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
    HealthCheck.nested_given,
)

_OF_OPERATORS: Final = frozenset(("trigger", "fork", "cancel", "start_timed", "terminate", "pause", "resume"))
_ROOM_FOR_A_SUFFIX: Final = 480  # of an id, which has 512 characters at most

ArrivalSource: TypeAlias = Literal["none", "history", "drawn"]
"""Where the requests of a rehearsal are from."""


@attrs.frozen(kw_only=True)
class Arrivals:
    """The requests that come from outside during a rehearsal, in order.

    Attributes:
        requests: the requests, each at its future instant.
        source: where they are from.
        total: how many there would be without the limit.
        without: requests in the history whose input it does not keep, by job: they are left out.
        covers_ms: how much time of the history they repeat, in milliseconds.
        most: how many may arrive.
        unread: how many more requests that history has, which were not read.
    """

    __repr__ = fields_in_line

    requests: tuple[PastRequest, ...] = ()
    source: ArrivalSource = "none"
    total: int = 0
    without: Mapping[Job, int] = attrs.Factory(dict[Job, int])
    covers_ms: int = 0
    most: int = MOST_ARRIVALS
    unread: int = 0

    def notes(self) -> Iterator[str]:
        """Yield how many requests arrive, and the number without an input."""
        if self.source == "none":
            return
        addresses = len({each.address for each in self.requests})
        number = f"{len(self.requests):,}" + (f" of {self.total:,}" if self.total > len(self.requests) else "")
        how = f"repeated from {duration(self.covers_ms)} of history" if self.source == "history" else "drawn"
        yield f"arrivals: {number} requests to {addresses:,} instances, {how}"
        if self.total > len(self.requests):
            yield f"  at most {self.most:,} arrive, all or none of an instance: pass --most for more"
        if self.unread:
            yield f"  {self.unread:,} more requests in the history were not read: choose instances, or a shorter time"
        for (kind, name), requests in sorted(self.without.items()):
            yield f"  {kind}:{name}: {requests:,} requests left out, the history does not keep their input"

    def data(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {
            "source": self.source,
            "requests": len(self.requests),
            "instances": len({each.address for each in self.requests}),
            "without_the_limit": self.total,
            "limit": self.most,
            "history_ms": self.covers_ms,
            "not_read": self.unread,
            "left_out_without_input": {f"{kind}:{name}": number for (kind, name), number in self.without.items()},
        }

    def to_json(self) -> bytes:
        """Encode the requests, for another process."""
        return orjson.dumps([[each.at_ms, str(each.address), each.action, each.payload] for each in self.requests])

    @classmethod
    def from_json(cls, text: bytes | str) -> Arrivals:
        """Decode the requests of another process.

        Args:
            text: the other process's `to_json`.
        """
        return cls(
            requests=tuple(
                PastRequest(at_ms, Address.parse(address), action, payload)
                for at_ms, address, action, payload in orjson.loads(text)
            )
        )


NO_ARRIVALS: Final = Arrivals()


# ---------------------------------------------------------------- from the history
def repeated(app: App[Any], image: Image, lasting_ms: int, *, most: int = MOST_ARRIVALS) -> Arrivals:
    """Return the requests of an image's history, again and again until the rehearsal ends.

    An instance that is older than the history gets its requests under its own id. One that the history has seen come
    into being arrives as a new one, with another id.

    Args:
        app: knows which actions have an input.
        image: an image that was read with its history.
        lasting_ms: how long the rehearsal lasts.
        most: how many requests arrive at most.

    Raises:
        NoArrivals: there is no such request.
        DefinitionError: the limit is not valid.
    """
    _check(most)
    served, begin_ms = app.served, image.at_ms - image.covers_ms
    kept: list[PastRequest] = []
    without: Counter[Job] = Counter()
    for each in image.history:
        job = each.address.kind, each.address.name
        definition = served.get(job)
        if definition is None:
            continue
        if each.payload is None and needs_input(definition, each.action):
            without[job] += 1
        else:
            kept.append(attrs.evolve(each, payload=each.payload or ""))
    if not kept:
        raise NoArrivals(image.covers_ms, {f"{kind}:{name}": number for (kind, name), number in without.items()})
    # Rounded up: the last repetition may be cut short by the end.
    rounds = -(-lasting_ms // image.covers_ms)
    # Before they are repeated: a year of a short history would be millions of requests, of which most are dropped.
    few = _few(kept, max(most, _MOST_PLANNED // rounds), 0)
    made = [
        PastRequest(at_ms, _address_in(image, each.address, begin_ms, again), each.action, each.payload)
        for again in range(rounds)
        for each in few
        if (at_ms := image.at_ms + again * image.covers_ms + each.at_ms - begin_ms) < image.at_ms + lasting_ms
    ]
    total = len(made) if len(few) == len(kept) else len(kept) * rounds
    return Arrivals(
        requests=_few(made, most, 0),
        source="history",
        total=total,
        without=without,
        covers_ms=image.covers_ms,
        most=most,
        unread=image.unread,
    )


def _check(most: int) -> None:
    if not 0 <= most <= LARGEST_ARRIVALS:
        raise DefinitionError("requests of a rehearsal", most, f"0 to {LARGEST_ARRIVALS:,}")


def _address_in(image: Image, address: Address, begin_ms: int, again: int) -> Address:
    found = image.instances.get(address)
    # It was there before the history began, so its requests found it. A later one is created again under another id.
    if found is not None and found[0].created_ms < begin_ms:
        return address
    return attrs.evolve(address, id=f"{address.id[:_ROOM_FOR_A_SUFFIX]}~{again + 1}")


def _few(requests: Sequence[PastRequest], most: int, seed_: int) -> tuple[PastRequest, ...]:
    """Return the requests to some addresses, in order: an instance gets all of its own, or none."""
    by_address = Counter(each.address for each in requests)
    kept: set[Address] = set()
    # The first that does not fit ends it, also if a smaller one would: else the busiest instances would never be in a
    # sample.
    for address in sorted(by_address, key=partial(number_of, seed_, "arrivals")):
        most -= by_address[address]
        if most < 0:
            break
        kept.add(address)
    return tuple(sorted((each for each in requests if each.address in kept), key=lambda each: each.at_ms))


# ---------------------------------------------------------------- drawn
def drawn(
    app: App[Any],
    image: Image,
    lasting_ms: int,
    *,
    per_day: Mapping[str, float],
    seed: int = 0,
    among: frozenset[Address] | None = None,
    strategies: Mapping[str, st.SearchStrategy[Any]] | None = None,
    most: int = MOST_ARRIVALS,
) -> Arrivals:
    """Draw requests: half of them to the instances of the image, half to new ones, at random instants.

    Inputs come from strategies for the declared types, as `JobMachine` draws them. The same seed draws the same ones.

    Args:
        app: has the definitions.
        image: the instances.
        lasting_ms: how long the rehearsal lasts.
        per_day: how many requests a day, by job, printed ``kind:name``.
        seed: the seed.
        among: the instances that get requests. By default all of the image.
        strategies: strategies for the inputs of some jobs' actions, such as ``{"task:orders.send": st.just(3)}``.
        most: how many requests arrive at most.

    Raises:
        DefinitionError: the app has no such job or action, or a number is not valid.
    """
    _check(most)
    own = dict(strategies or {})
    made: list[PastRequest] = []
    for job, each_day in sorted(per_day.items()):
        definition = _definition(app, job)
        if not 0 < each_day < float("inf"):
            raise DefinitionError(f"requests of {job} a day", each_day, "a number above 0")
        actions = [spec for name, spec in definition.plan.offered.items() if _is_drawn(name, spec)]
        values = {spec.name: _values(spec, own.pop(f"{job}.{spec.name}", None), seed) for spec in actions}
        there = sorted(each for each in among or image.instances if f"{each.kind}:{each.name}" == job)
        for number in range(round(each_day * lasting_ms / DAY_MS)):
            # Each request has its own numbers: another rate or another job does not change those that stay.
            draw = partial(number_of, seed, "arrival", job, number)
            spec = actions[draw("action") % len(actions)]
            is_new = not there or (draw("new") % 2 == 0 and spec.absent == "creates")
            id_ = f"drawn-{number + 1}" if is_new else there[draw("id") % len(there)].id
            at_ms = image.at_ms + int(share_of(draw("at")) * lasting_ms)
            payload = values[spec.name][draw("value") % len(values[spec.name])]
            made.append(PastRequest(at_ms, definition.address(id_), spec.name, payload))
    if own:
        raise DefinitionError("strategies for requests", sorted(own), "kind:name.action of a drawn job")
    return Arrivals(requests=_few(made, most, seed), source="drawn", total=len(made), most=most)


def _definition(app: App[Any], job: str) -> AnyDefinition:
    kind, _, name = job.partition(":")
    found = app.served.get((kind, name))
    if found is None:
        expected = f"a job of the app: {', '.join(f'{kind}:{name}' for kind, name in app.served) or 'it has none'}"
        raise DefinitionError("job whose requests are drawn", job, expected)
    return found


def _is_drawn(name: str, spec: CommandSpec[Any]) -> bool:
    return spec.input is not None and spec.effect == "usual" and spec.takes == "input" and name not in _OF_OPERATORS


def _values(spec: CommandSpec[Any], own: st.SearchStrategy[Any] | None, seed_: int) -> Sequence[str]:
    """Return inputs of an action as JSON."""
    codec = spec.input
    if codec is None:
        return ("",)
    values: st.SearchStrategy[Any] = from_type(codec.form) if own is None else own
    fields = {name: st.sampled_from(few) for name, few in spec.samples if few}
    inputs = st.builds(attrs.evolve, values, **fields) if fields and own is None else values
    found: list[str] = []

    @seed(number_of(seed_, "inputs", spec.name))
    @settings(
        max_examples=_DRAWN_VALUES,
        # No examples from earlier runs, and no deadline: the inputs depend on the seed alone.
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=_UNCHECKED,
    )
    @given(inputs)
    def keep(value: object) -> None:
        found.append(codec.encode(value).decode())

    keep()
    return found
