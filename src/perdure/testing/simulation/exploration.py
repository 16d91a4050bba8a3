"""From one run to the faults that could meet it: all single ones in order, or drawn plans of several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from typing_extensions import TypeForm

from perdure.program import Call
from perdure.testing.fault import Crash, Fail, Fault, Faults, Raise, TimeOut
from perdure.testing.simulation.declared import Declared, declared_by
from perdure.testing.simulation.simulated import Simulated
from perdure.testing.simulation.step import Performed
from perdure.testing.typed import NoSample, samples_of, values_of

MAX_FAULTS = 3
"""Faults of a drawn plan at most, unless it is told otherwise."""


def every_fault(clean: Simulated[Any, Any, Any], /) -> tuple[Faults, ...]:
    """Enumerate the plans with one fault: each call of each effect of a run, made to go wrong in each way.

    For each call: a crash before and after it; an undeclared exception, a lost answer and no answer at all, before and
    after; and its declared errors, the plainest of each type. The same run gives the same plans in the same order.

    Args:
        clean: a run without faults, whose calls are to go wrong.

    Returns:
        Plans to hand to `simulate`, such as ``(Crash('send_mail', when='after'),)``.
    """
    return tuple((fault,) for step in clean.effects for fault in _faults_at(step))


def _faults_at(step: Performed) -> Iterator[Fault]:
    name, call = step.name, step.call
    yield Crash(name, when="before", call=call)
    yield Crash(name, when="after", call=call)
    yield Raise(name, when="before", call=call)
    yield Raise(name, when="after", call=call)
    yield TimeOut(name, when="before", call=call)
    yield TimeOut(name, when="after", call=call)
    for error in _sample_errors(step):
        yield Fail(name, error, call=call)


def _sample_errors(step: Performed) -> tuple[object, ...]:
    declared = _error_of(step)
    if declared is None:
        return ()
    try:
        return samples_of(declared)
    except NoSample:  # whoever needs one gives it by hand
        return ()


def _error_of(step: Performed) -> TypeForm[Any] | None:
    """The type of the errors that an effect declares; None when it declares none."""
    if not isinstance(step.instruction, Call):
        return None
    match declared_by(step.instruction.fn):
        case Declared(error=error):
            form: TypeForm[Any] | None = error
            return form
        case _:
            return None


def faults(clean: Simulated[Any, Any, Any], /, *, at_most: int = MAX_FAULTS) -> st.SearchStrategy[Faults]:
    """Draw plans of several faults for the calls of a run: at most one for each call, with drawn errors.

    Args:
        clean: a run without faults, whose calls are to go wrong.
        at_most: how many faults a plan has at most.
    """
    calls = clean.effects
    if not calls:
        return st.just(())
    one = st.sampled_from(range(len(calls))).flatmap(lambda place: _drawn(calls[place]))
    drawn = st.lists(one, max_size=min(at_most, len(calls)), unique_by=lambda fault: (fault.at, fault.call))
    return drawn.map(tuple)


def _drawn(step: Performed) -> st.SearchStrategy[Fault]:
    name, call = st.just(step.name), st.just(step.call)
    when = st.sampled_from(("before", "after"))
    ways: list[st.SearchStrategy[Fault]] = [
        st.builds(Fail, name, values_of(form), when=when, call=call) if form is not None else st.nothing()
        for form in [_error_of(step)]
    ]
    ways += [st.builds(kind, name, when=when, call=call) for kind in (TimeOut, Raise, Crash)]
    return st.one_of(ways)
