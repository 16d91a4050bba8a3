"""A rehearsal: the futures of a store's instances under old and new code, compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias

import attrs

from perdure.app import App
from perdure.rehearsal.answers import NoAnswers, Recorded, ServiceAnswers, Source, recorded_in
from perdure.rehearsal.arrivals import NO_ARRIVALS, Arrivals
from perdure.rehearsal.difference import Comparison
from perdure.rehearsal.future import NO_FUTURE, Futures, futures_of
from perdure.rehearsal.image import Chosen, Image, chosen_from
from perdure.values.address import Address, Job
from perdure.values.excerpt import fields_in_line
from perdure.values.times import Duration, duration_ms, from_ms

SAMPLE: Final = 100
"""How many instances of each class are rehearsed to the end by default."""

RUNS: Final = 3
"""How many runs all other instances have by default."""

MAX_ROUNDS: Final = 5
"""How often a rehearsal begins again with the instances that messages have reached."""

_PROBED: Final = 2
"""How many instances of each class look for effects without an answer, before all others begin."""


@attrs.frozen(kw_only=True)
class RehearsalOptions:
    """The length, the sample and the seed of a rehearsal.

    Attributes:
        lasting: how long, in virtual time.
        sample: how many instances of each class are rehearsed to the end. None: all.
        runs: how many runs the others have. 0: they are left out.
        seed: decides jitter, ids, faults and the sample.
    """

    lasting: Duration
    sample: int | None = SAMPLE
    runs: int = RUNS
    seed: int = 0
    lasting_ms: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # A frozen class sets a derived field like this. Checked here: a wrong length is refused before a store is read.
        object.__setattr__(self, "lasting_ms", duration_ms(self.lasting, what="length of a rehearsal", minimum_ms=1))


@attrs.frozen
class RehearsedPart:
    """One pass of both apps over a part of an image.

    Attributes:
        shallow: those that end after a few runs.
    """

    __repr__ = fields_in_line

    image: Image
    shallow: frozenset[Address]
    arrivals: Arrivals = NO_ARRIVALS


RunBoth: TypeAlias = Callable[[RehearsedPart], tuple[Futures, Futures]]
"""Runs a part under the old and under the new code, and returns the futures of each."""


@attrs.frozen(kw_only=True)
class Rehearsal:
    """How a rehearsal ended.

    Attributes:
        difference: what differs.
        image: the rehearsed store.
        chosen: which instances were rehearsed.
        options: the length, the sample and the seed.
        used: how many calls each source has answered under the new code, by effect.
        left_out: instances that messages reached in the last round, and that were not rehearsed.
        arrivals: the requests from outside.
        not_called: effects that have an answer or a fault, and that neither version has called.
    """

    __repr__ = fields_in_line

    difference: Comparison
    image: Image
    chosen: Chosen
    options: RehearsalOptions
    used: Mapping[tuple[str, Source], int]
    left_out: int = 0
    arrivals: Arrivals = NO_ARRIVALS
    not_called: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether every rehearsed instance has the same future under both."""
        return self.difference.differing == 0

    def lines(self) -> Iterator[str]:
        """Yield the difference as text, then the numbers behind it."""
        yield from self.difference.lines()
        yield ""
        yield from self.notes()

    def notes(self) -> Iterator[str]:
        """Yield over how many instances the rehearsal counts, and which answers it could only make up."""
        image, chosen = self.image, self.chosen
        yield f"rehearsed {len(chosen.deep):,} of {image.total:,} instances to the end" + (
            f", {len(chosen.shallow):,} more for {self.options.runs} runs" if chosen.shallow else ""
        )
        if image.total < image.stored:
            yield f"  the filter chose {image.total:,} of {image.stored:,} instances in the store"
        for (kind, name), (number, deep) in sorted(self.jobs.items()):
            if deep < number:
                yield f"  {kind}:{name}: {deep:,} of {number:,} to the end"
        yield from self.arrivals.notes()
        made_up = sorted({name for (name, source), calls in self.used.items() if source == "type" and calls})
        if made_up:
            yield f"answered by type alone, always the same: {', '.join(made_up)}"
        if self.not_called:
            yield f"called by neither version: {', '.join(self.not_called)}"
        if image.unreadable:
            yield f"left out: {image.unreadable:,} rows that cannot be decoded (see perdure verify)"
        if self.left_out:
            yield f"left out: {self.left_out:,} instances that messages reached in the last round"

    @property
    def jobs(self) -> Mapping[Job, tuple[int, int]]:
        """How many instances of each job the image has, and how many of them were rehearsed to the end."""
        return self.chosen.jobs

    def data(self) -> dict[str, Any]:
        """Return the rehearsal for JSON."""
        answered: dict[str, dict[str, int]] = {}
        for (name, source), calls in sorted(self.used.items()):
            answered.setdefault(name, {})[source] = calls
        return self.difference.data() | {
            "begins": from_ms(self.image.at_ms).isoformat(),
            "ends": from_ms(self.image.at_ms + self.options.lasting_ms).isoformat(),
            "notes": [*self.notes()],
            "to_the_end": len(self.chosen.deep),
            "for_a_few_runs": len(self.chosen.shallow),
            "chosen_by_the_filter": self.image.total,
            "in_the_store": self.image.stored,
            "arrivals": self.arrivals.data(),
            "unreadable": self.image.unreadable,
            "left_out": self.left_out,
            "answered": answered,
            "not_called": [*self.not_called],
        }


def rehearse(
    new: App[Any],
    *,
    against: App[Any],
    image: Image,
    options: RehearsalOptions,
    answers: ServiceAnswers | None = None,
    arrivals: Arrivals = NO_ARRIVALS,
) -> Rehearsal:
    """Run the instances of an image under two apps, and compare their acts.

    Both run with the same clock, the same random numbers and the same answers. Nothing is written.

    Args:
        new: the code that is about to be deployed.
        against: the code that runs today.
        image: the contents of the store.
        options: for how long, over how many instances.
        answers: how services answer. By default recorded outcomes, else the first success of each declared type.
        arrivals: the requests from outside, of `repeated` or `drawn`. By default there are none.

    Raises:
        NoAnswers: effects have no answer.
        TooManyActs: the futures do not fit into memory.
        DefinitionError: an app cannot be opened.
    """
    given, recorded = answers or ServiceAnswers(), recorded_in(image)

    def run_both(part: RehearsedPart) -> tuple[Futures, Futures]:
        return (
            run(against, part, options, given, recorded=recorded),
            run(new, part, options, given, recorded=recorded),
        )

    return rehearse_with(run_both, image, options, arrivals, answers=given)


def run(
    app: App[Any],
    part: RehearsedPart,
    options: RehearsalOptions,
    answers: ServiceAnswers,
    *,
    key: bytes = b"",
    recorded: Mapping[str, tuple[Recorded, ...]],
) -> Futures:
    """Run a part under one app.

    Raises:
        TooManyActs: the futures do not fit into memory.
        DefinitionError: the app cannot be opened.
    """
    return futures_of(
        app,
        part.image,
        lasting=timedelta(milliseconds=options.lasting_ms),
        answers=answers,
        seed=options.seed,
        shallow=part.shallow,
        runs=options.runs,
        key=key,
        recorded=recorded,
        arrivals=part.arrivals.requests,
    )


def rehearse_with(
    run_both: RunBoth,
    image: Image,
    options: RehearsalOptions,
    arrivals: Arrivals = NO_ARRIVALS,
    *,
    answers: ServiceAnswers | None = None,
) -> Rehearsal:
    """Rehearse with a function that runs both apps, perhaps in other processes. It passes them the answers.

    Raises:
        NoAnswers: effects have no answer.
    """
    chosen = chosen_from(image, sample=options.sample, seed=options.seed, rest=options.runs > 0)
    probed = chosen_from(image, sample=_PROBED, seed=options.seed, rest=False)
    if len(probed.deep) < len(chosen.deep) / 2:  # else it would only run twice
        _answered(run_both(_part(image, probed, arrivals)))
    old, new, reached = _round(run_both, image, chosen, arrivals)
    for _ in range(MAX_ROUNDS - 1):
        if not reached:
            break
        chosen = attrs.evolve(chosen, deep=chosen.deep | reached)
        old, new, reached = _round(run_both, image, chosen, arrivals)
    # Only the last round is compared: the earlier ones lack the instances that messages reached.
    difference = Comparison(image.at_ms)
    # In the order of addresses: groups and their examples must be the same in each run.
    for address in sorted(old.of.keys() | new.of.keys()):
        difference.add(address, old.of.get(address, NO_FUTURE), new.of.get(address, NO_FUTURE))
    return Rehearsal(
        difference=difference,
        image=image,
        chosen=chosen,
        options=options,
        # Of the new code alone: it is the code whose answers the reader must trust.
        used=new.used,
        left_out=len(reached),
        arrivals=_arriving(arrivals, image, chosen),
        not_called=(answers or ServiceAnswers()).not_called(old.used, new.used),
    )


def _part(image: Image, chosen: Chosen, arrivals: Arrivals) -> RehearsedPart:
    return RehearsedPart(image.with_only(sorted(chosen)), chosen.shallow, _arriving(arrivals, image, chosen))


def _arriving(arrivals: Arrivals, image: Image, chosen: Chosen) -> Arrivals:
    """Return the requests to chosen instances, and to those that come into being."""
    there = {*chosen}
    kept = tuple(each for each in arrivals.requests if each.address in there or each.address not in image)
    return attrs.evolve(arrivals, requests=kept)


def _round(
    run_both: RunBoth, image: Image, chosen: Chosen, arrivals: Arrivals
) -> tuple[Futures, Futures, frozenset[Address]]:
    """Return both futures, and the instances that a message reached and that are not here: it would create them."""
    old, new = _answered(run_both(_part(image, chosen, arrivals)))
    # Without those that are not in the store: a message creates them in the rehearsal, so nothing is missing.
    reached = frozenset(address for address in old.reached | new.reached if address in image)
    return old, new, reached - {*chosen}


def _answered(both: tuple[Futures, Futures]) -> tuple[Futures, Futures]:
    # Of both at once: a user who repairs one effect after the other would start a long rehearsal for each.
    missing = {**both[0].missing, **both[1].missing}
    if missing:
        raise NoAnswers(missing)
    return both
