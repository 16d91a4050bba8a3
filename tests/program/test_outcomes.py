"""How programs end: failures, halts, defects, cancellations, and finalizers."""

import asyncio
import contextlib
import gc
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs import (
    Do,
    Halted,
    NotAProgram,
    NothingReturned,
    Program,
    Raised,
    bracket,
    effect,
    fail,
    halt,
    program,
    run_async,
    run_sync,
    sandbox,
    succeed,
)
from perdure.programs.drivers import Suspended, asks_service, default_handler, run_to_first_effect, run_while_answered
from perdure.programs.instructions import Jitter, Now, Sleep, SleepUntil
from perdure.programs.interpreter import interpret
from perdure.runtime.simulated import SimulatedCancellation

Run = Callable[..., Any]


def _run_on_asyncio(given: Program[Any, Any, Any], services: Any) -> Any:
    return asyncio.run(run_async(given, services))


@pytest.fixture(params=[run_sync, _run_on_asyncio], ids=["run_sync", "run_async"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


@effect
def note(services, entry):
    services.append(entry)
    return Success(None)


@effect
def crash(_, cause):
    raise cause


@program
def guarded(inner) -> Do[Any, Any, Any]:
    try:
        return (yield from inner)
    finally:
        yield from note("finally")


class Custom(BaseException):
    """Like a cancellation: no `Exception`."""


ENDINGS: list[tuple[Program[Any, Any, Any], Any]] = [
    (succeed(1), Success(1)),
    (fail("e"), Failure("e")),
    (halt("h"), Halted("h")),
]


@pytest.mark.parametrize(("inner", "exit_"), ENDINGS)
def test_finally_runs_its_effects_after_every_exit(run, inner, exit_):
    notes: list[str] = []
    assert run(guarded(inner), notes) == exit_
    assert notes == ["finally"]


def test_finally_runs_its_effects_after_a_defect_which_keeps_its_traceback(run):
    notes: list[str] = []
    exit_ = run(guarded(crash(ValueError("bug"))), notes)
    assert isinstance(exit_.cause, ValueError)
    assert "raise cause" in exit_.formatted()
    assert "in crash" in repr(exit_)
    assert notes == ["finally"]


@pytest.mark.parametrize(
    "cause", [KeyboardInterrupt, SystemExit, Custom, SimulatedCancellation, asyncio.CancelledError]
)
def test_a_base_exception_unwinds_and_is_raised(run, cause):
    notes: list[str] = []
    with pytest.raises(cause):
        run(sandbox(guarded(crash(cause()))).attempt(), notes)
    assert notes == ["finally"]


def test_a_failure_in_a_finalizer_replaces_the_outcome_and_outer_ones_still_run(run):
    @program
    def nested(ending) -> Do[Any, Any, Any]:
        try:
            try:
                yield from ending
            finally:
                yield from fail("from the finalizer")
        finally:
            yield from note("outer")

    for ending in (succeed(1), fail("first"), halt("h"), crash(ValueError())):
        notes: list[str] = []
        assert run(nested(ending), notes) == Failure("from the finalizer")
        assert notes == ["outer"]


def test_a_defect_in_a_finalizer_replaces_the_outcome(run):
    @program
    def broken() -> Do[Any, Any, Any]:
        try:
            yield from fail("first")
        finally:
            yield from crash(ValueError("second"))

    assert isinstance(run(broken(), []).cause, ValueError)


def test_a_defect_caught_inside_a_finalizer_leaves_the_outcome(run):
    @program
    def careful() -> Do[Any, Any, Any]:
        try:
            yield from fail("first")
        finally:
            try:
                yield from crash(ValueError("caught"))
            except ValueError:
                yield from note("caught")

    notes: list[str] = []
    assert run(careful(), notes) == Failure("first")
    assert notes == ["caught"]


def test_return_in_a_finally_does_not_swallow_a_failure(run):
    @program
    def swallowing() -> Do[Any, Any, Any]:
        try:
            yield from fail("first")
        finally:
            return "swallowed"  # noqa: B012

    assert run(swallowing(), []) == Failure("first")


def test_except_exception_does_not_see_a_failure_or_a_halt(run):
    @program
    def catching(inner) -> Do[Any, Any, Any]:
        try:
            return (yield from inner)
        except Exception:  # noqa: BLE001
            return "caught"

    assert run(catching(fail("e")), None) == Failure("e")
    assert run(catching(halt("h")), None) == Halted("h")
    assert run(catching(crash(KeyError("k"))), None) == Success("caught")


def test_an_exception_of_a_service_can_be_caught_and_work_continues(run):
    @program
    def careful() -> Do[Any, Any, Any]:
        try:
            yield from crash(KeyError("k"))
        except KeyError as missing:
            yield from note(str(missing))
        return "went on"

    notes: list[str] = []
    assert run(careful(), notes) == Success("went on")
    assert notes == ["'k'"]


def test_an_exception_raised_later_is_not_in_the_context_of_one_that_was_caught(run):
    @program
    def careful() -> Do[Any, Any, Any]:
        with contextlib.suppress(KeyError):
            yield from crash(KeyError("caught"))
        raise ValueError("later")

    assert run(careful(), None).cause.__context__ is None


def test_a_halt_passes_attempt_lash_and_compose_and_stops_at_a_sandbox(run):
    stubborn = halt("h").lash(lambda _: succeed(1)).attempt().compose_result(lambda _: succeed(2))
    assert run(stubborn, None) == Halted("h")
    assert run(sandbox(stubborn), None) == Success(Halted("h"))


@pytest.mark.parametrize(
    "broken",
    [
        succeed(1).map(lambda x: x / 0),
        succeed(1).bind(lambda x: x / 0),
        fail(1).lash(lambda x: x / 0),
        fail(1).alt(lambda x: x / 0),
        succeed(1).compose_result(lambda _: 1 / 0),
        succeed(1).modify_env(lambda _: 1 / 0),
        succeed(1).tap(lambda _: 1 / 0),
        program(lambda: (yield from succeed(1).map(lambda x: x / 0)))(),
    ],
)
def test_an_exception_in_any_function_is_a_defect(run, broken):
    caught = broken.lash(lambda _: succeed("never")).attempt()
    assert isinstance(run(caught, None).cause, ZeroDivisionError)


def test_yielding_another_value_than_a_program_is_a_defect_that_names_the_block(run):
    @program
    def wrong() -> Do[Any, Any, Any]:
        yield 3

    cause = run(wrong(), None).cause
    assert isinstance(cause, NotAProgram)
    assert "wrong returned 3" in str(cause)


def test_yielding_a_result_says_to_lift_it(run):
    @program
    def wrong() -> Do[Any, Any, Any]:
        yield from succeed(1)
        yield Success(2)

    assert "lift" in str(run(wrong(), None).cause)


def test_a_continuation_that_returns_no_program_is_a_defect_that_names_it(run):
    def continuation(_):
        return "no program"

    for wrong in (succeed(1).bind(continuation), fail(1).lash(continuation), succeed(1).compose_result(continuation)):
        cause = run(wrong, None).cause
        assert isinstance(cause, NotAProgram)
        assert "continuation returned 'no program'" in str(cause)


def test_or_die_makes_a_failure_a_defect(run):
    assert isinstance(run(fail(KeyError("k")).or_raise(), None).cause, KeyError)
    assert run(fail("text").or_raise(), None).cause.error == "text"
    assert run(succeed(1).or_raise(), None) == Success(1)


@pytest.mark.parametrize(("inner", "exit_"), ENDINGS)
def test_bracket_and_on_exit_release_exactly_once(run, inner, exit_):
    notes: list[str] = []
    used = bracket(note("acquire"), lambda _: inner, lambda _: note("release")).on_exit(note("on_exit"))
    assert run(used, notes) == exit_
    assert notes == ["acquire", "release", "on_exit"]


@pytest.mark.parametrize("cause", [ValueError, Custom])
def test_bracket_and_on_exit_release_exactly_once_after_an_exception(run, cause):
    notes: list[str] = []
    used = bracket(note("acquire"), lambda _: crash(cause()), lambda _: note("release")).on_exit(note("on_exit"))
    if cause is Custom:
        with pytest.raises(Custom):
            run(used, notes)
    else:
        assert isinstance(run(used, notes).cause, cause)
    assert notes == ["acquire", "release", "on_exit"]


def test_nothing_is_released_that_was_not_acquired(run):
    notes: list[str] = []
    assert run(bracket(fail("e"), lambda _: succeed(1), lambda _: note("release")), notes) == Failure("e")
    assert notes == []


def test_cancelling_a_run_runs_its_finalizers_which_may_wait():
    notes: list[str] = []

    @effect
    async def wait(_):
        await asyncio.Event().wait()

    @effect
    async def release(services):
        await asyncio.sleep(0)
        services.append("released")
        return Success(None)

    @program
    def work() -> Do[Any, Any, Any]:
        try:
            yield from wait()
        finally:
            yield from release()

    async def main() -> None:
        running = asyncio.ensure_future(run_async(sandbox(work()), notes))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert notes == ["released"]


def test_asyncio_timeout_around_a_run_works():
    @effect
    async def wait(_):
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.timeout(0.001):
            await run_async(wait(), None)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_closing_a_run_closes_its_blocks_innermost_first():
    closed: list[str] = []

    class Never:
        def __await__(self):
            yield "waiting"

    @program
    def block(name, inner) -> Do[Any, Any, Any]:
        try:
            yield from inner
        finally:
            closed.append(name)

    coroutine = run_async(block("outer", block("inner", effect(lambda _: Never())())), None)
    assert coroutine.send(None) == "waiting"
    coroutine.close()
    gc.collect()
    assert closed == ["inner", "outer"]


def test_died_is_equal_by_the_identity_of_its_cause():
    class Equal(Exception):
        def __eq__(self, other):
            return True

        __hash__ = Exception.__hash__

    assert Raised(Equal()) != Raised(Equal())
    cause = ValueError("x")
    assert Raised(cause) == Raised(cause)
    assert Raised(cause) != Raised(ValueError("x"))
    assert len({Raised(cause), Raised(cause)}) == 1
    assert repr(Raised(cause)) == "Raised(ValueError('x'))"


def test_importing_programs_pulls_no_event_loop():
    code = "import sys, perdure.programs; print({'asyncio', 'random', 'logging', 'anyio'} & set(sys.modules) or [])"
    import subprocess  # noqa: PLC0415

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"  # noqa: S603


# ---------------------------------------------------------------- effects that return nothing
def _forgets(services): ...


def _forgets_a_result(services) -> Result[int, str]: ...


async def _forgets_later(services) -> Result[int, str]: ...


def _forgets_a_coroutine(services) -> Awaitable[Result[int, str]]:
    return _forgets_later(services)


def _unreadable(services) -> "Nowhere[int]":  # noqa: F821
    ...


@pytest.mark.parametrize("forgetful", [_forgets, _forgets_a_result, _forgets_later, _forgets_a_coroutine, _unreadable])
def test_an_effect_that_forgets_to_return_is_a_defect_that_names_it(run, forgetful):
    defect = run(effect(forgetful)(), None).cause
    assert isinstance(defect, NothingReturned)
    assert "_forgets" in str(defect) or "_unreadable" in str(defect)
    assert "forgotten `return`" in str(defect)


def _says_none(services) -> None: ...


async def _says_none_later(services) -> None: ...


def _says_coroutine_of_none(services) -> Awaitable[None]:
    return _says_none_later(services)


def _says_perhaps(services) -> int | None: ...


def _says_anything(services) -> Any: ...


def _says_none_unreadably(services) -> "Nowhere | None":  # noqa: F821
    ...


@pytest.mark.parametrize(
    "empty",
    [_says_none, _says_none_later, _says_coroutine_of_none, _says_perhaps, _says_anything, _says_none_unreadably],
)
def test_an_effect_that_is_annotated_with_none_may_return_it(run, empty):
    assert run(effect(empty)(), None) == Success(None)


# ---------------------------------------------------------------- a program that is dropped
async def _begins_later(services) -> Result[int, str]:
    return Success(1)


def _of_a_container(services) -> FutureResult[int, str]:
    return FutureResult(_begins_later(services))


@pytest.mark.parametrize("service", [_begins_later, _of_a_container])
def test_a_program_that_is_dropped_leaves_no_coroutine_that_was_never_awaited(service):
    begun = run_while_answered(
        run_to_first_effect(interpret(effect(service)(), None)), default_handler, lambda _: False
    )
    assert isinstance(begun, Suspended)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        begun.drop()
        del begun
        gc.collect()
    assert warned == []


@pytest.mark.parametrize("instruction", [Sleep(1), SleepUntil(1), Now(), Jitter()])
def test_the_time_is_asked_of_no_service(instruction: object) -> None:
    waits: Any = None
    assert not asks_service(Suspended(waits, (instruction, None)))
    assert asks_service(Suspended(waits, ("a call of a service", None)))
