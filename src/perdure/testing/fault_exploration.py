"""A run's faults, explored: every single fault in order, or drawn plans with several, and the repeats after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs
from hypothesis import strategies as st
from hypothesis.errors import ResolutionFailed
from returns.result import Failure

from perdure.codecs.type_names import describe_type
from perdure.programs import Raised
from perdure.programs.effect_results import error_declared_by
from perdure.testing.fault import NO_FAULTS, Crash, Fail, Fault, Faults, Hang, Raise
from perdure.testing.hooks import HookContext
from perdure.testing.simulated_run import Changes, EffectStep, Hung, ProcessDied, Simulated, difference
from perdure.testing.typed import NoSample, examples_of, from_type

MAX_FAULTS = 3
"""The default maximum number of faults in a drawn plan."""


Errors: TypeAlias = Mapping[str, Sequence[object]]
"""The errors of effects, by the name of the effect, for declared types that cannot be constructed."""

NO_ERRORS: Final[Errors] = {}


def every_fault(clean: Simulated[Any, Any, Any], /, *, errors: Errors = NO_ERRORS) -> tuple[Faults, ...]:
    """Return all plans with one fault: each fault kind for each effect call in a run.

    For each call: a crash before and after it. An undeclared exception, a lost result and no result, before and after,
    and its declared errors, each type's simplest. The same run gives the same plans in the same order.

    Args:
        clean: a run without faults, whose calls the faults affect.
        errors: errors for some effects, by name, such as ``{"charge": [Declined("no money")]}``. By default the
            simplest for each declared type. An effect without annotations declares none.

    Returns:
        Plans for `simulate`, such as ``(Crash('send_mail', when='after'),)``.

    Raises:
        NoSample: no error can be constructed for a declared type. Pass one in ``errors``.
    """
    return tuple((fault,) for step in clean.effects for fault in _faults_at(step, errors))


def _faults_at(step: EffectStep, errors: Errors) -> Iterator[Fault]:
    name, call = step.name, step.call
    yield Crash(name, when="before", call=call)
    yield Crash(name, when="after", call=call)
    yield Raise(name, when="before", call=call)
    yield Raise(name, when="after", call=call)
    yield Hang(name, when="before", call=call)
    yield Hang(name, when="after", call=call)
    for error in _sample_errors(step) if errors.get(name) is None else errors[name]:
        yield Fail(name, error, call=call)


def _sample_errors(step: EffectStep) -> tuple[object, ...]:
    declared = error_declared_by(step.instruction)
    try:
        return () if declared is None else examples_of(declared)
    except NoSample as none:
        raise attrs.evolve(none, reason=_say_which(step, none.reason)) from none


def _say_which(step: EffectStep, reason: str) -> str:
    return f"{reason}; it is an error of {step.name}: pass errors={{{step.name!r}: [...]}}"


def faults(
    clean: Simulated[Any, Any, Any], /, *, at_most: int = MAX_FAULTS, errors: Errors = NO_ERRORS
) -> st.SearchStrategy[Faults]:
    """Draw plans with several faults for a run's calls: at most one for each call, with drawn errors.

    Args:
        clean: a run without faults, whose calls the faults affect.
        at_most: the maximum number of faults in a plan.
        errors: errors for some effects, by name. By default they are drawn from their declared types.

    Raises:
        NoSample: a declared type does not describe its values. Pass some in ``errors``.
    """
    calls = clean.effects
    if not calls:
        return st.just(())
    at_call = tuple(_drawn(step, errors) for step in calls)
    one = st.sampled_from(range(len(calls))).flatmap(at_call.__getitem__)
    drawn = st.lists(one, max_size=min(at_most, len(calls)), unique_by=lambda fault: (fault.at, fault.call))
    return drawn.map(tuple)


def _drawn(step: EffectStep, errors: Errors) -> st.SearchStrategy[Fault]:
    name, call = st.just(step.name), st.just(step.call)
    when = st.sampled_from(("before", "after"))
    ways: list[st.SearchStrategy[Fault]] = [
        st.builds(Fail, name, drawn, when=when, call=call) for drawn in _drawn_errors(step, errors)
    ]
    ways += [st.builds(kind, name, when=when, call=call) for kind in (Hang, Raise, Crash)]
    return st.one_of(ways)


def _drawn_errors(step: EffectStep, errors: Errors) -> Iterator[st.SearchStrategy[Any]]:
    given, declared = errors.get(step.name), error_declared_by(step.instruction)
    if given is not None:
        yield st.sampled_from(given) if given else st.nothing()
    elif declared is not None:
        drawn: st.SearchStrategy[Any] = from_type(declared)
        try:
            drawn.validate()
        except ResolutionFailed as failed:
            raise NoSample(describe_type(declared), _say_which(step, str(failed))) from failed
        yield drawn


A = TypeVar("A")
E = TypeVar("E")
S = TypeVar("S")
C = TypeVar("C", bound=Any)  # of a kind's own context


@attrs.frozen
class RedeliveryResult(Generic[A, E, S]):
    """A run with its repeats.

    Attributes:
        runs: all runs, in order.
    """

    runs: tuple[Simulated[A, E, S], ...]

    @property
    def last(self) -> Simulated[A, E, S]:
        """The last run."""
        return self.runs[-1]

    @property
    def committed(self) -> Changes[S] | None:
        """The stored changes: the draft from the run that succeeded, or None."""
        return self.last.committed

    def reached(self, name: str) -> tuple[EffectStep, ...]:
        """Return the effect's calls that reached its service, over all runs, in order.

        Args:
            name: the `effect` function's name.
        """
        return tuple(step for run in self.runs for step in run.calls(name) if step.reached)

    def __repr__(self) -> str:
        runs = (f"run {number}:\n{run!r}" for number, run in enumerate(self.runs, start=1))
        return "\n".join(runs)


def run_with_redelivery(
    run: Callable[[HookContext[C, S], Faults], Simulated[A, E, S]],
    on: HookContext[C, S],
    /,
    *,
    faults: Faults = NO_FAULTS,
    at_most: int = 3,
) -> RedeliveryResult[A, E, S]:
    """Run a hook with a fault plan, and repeat it without faults until it succeeds, as an engine would.

    Each repeat can detect that it is one: ``ctx.delivery`` counts up after a crash, ``ctx.attempt`` after any other
    failure. If `run` keeps the services, they are the same in all runs: their effects are not undone.

    Args:
        run: simulates the hook with a context and a fault plan.
        on: the first run's context.
        faults: the first run's plan.
        at_most: the maximum number of runs, for a program that fails without a fault.
    """
    runs = [run(on, faults)]
    while isinstance(runs[-1].exit, Failure | Raised | ProcessDied | Hung) and len(runs) < at_most:
        on = on.again(runs[-1])
        runs.append(run(on, NO_FAULTS))
    return RedeliveryResult(tuple(runs))


def assert_atomic(clean: Simulated[Any, Any, S], seen: Simulated[Any, Any, S], /) -> None:
    """Check that a run stored the same changes as the clean run, or none.

    Args:
        clean: the run without faults.
        seen: a run with faults.

    Raises:
        AssertionError: it stored other changes. The message shows the first difference.
    """
    if seen.committed is not None and seen.committed != clean.committed:
        raise AssertionError("\n".join(["committed part of the draft", *difference(clean, seen)]))
