"""gather, race, timeout, retry and sleep: on a virtual clock, and on asyncio where that could differ."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Success

from perdure.programs import (
    PASS,
    Do,
    EffectTimeout,
    Halted,
    NotAProgram,
    Program,
    Raised,
    as_completed,
    effect,
    fail,
    gather,
    halt,
    now,
    perform,
    program,
    race,
    run_async,
    run_sync,
    sandbox,
    sleep,
    sleep_until,
    succeed,
)
from perdure.programs.instructions import Instruction
from perdure.runtime.simulated import Simulation
from perdure.values.errors import DefinitionError

MS = timedelta(milliseconds=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


def run_plain(given: Program[Any, Any, Any], services: Any = None) -> Any:
    return run_sync(given, services)


def run_on_asyncio(given: Program[Any, Any, Any], services: Any = None) -> Any:
    return asyncio.run(run_async(given, services))


def run_hosted(given: Program[Any, Any, Any], services: Any = None) -> Any:
    simulation = Simulation(seed=3)
    return asyncio.run(simulation.run_hosted(run_async(given, services, runtime=simulation.runtime)))


@pytest.fixture(params=[run_plain, run_on_asyncio, run_hosted])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param


@effect
def note(services, entry):
    services.append(entry)
    return Success(entry)


@effect
def crash(_, cause):
    raise cause


@program
def after(delay_ms: int, ending: Program[Any, Any, Any]) -> Do[Any, Any, Any]:
    """Wait, then end so; note a cancellation."""
    done = False
    try:
        yield from sleep(delay_ms * MS)
        done = True
        return (yield from ending)
    finally:
        if not done:
            yield from sleep(MS)
            yield from note(f"cancelled {delay_ms}")


def test_gather_returns_all_values_in_the_order_of_the_programs(run):
    assert run(gather(after(20, succeed("a")), after(1, succeed("b")), succeed("c")), []) == Success(("a", "b", "c"))
    assert run(gather(), []) == Success(())


@pytest.mark.parametrize(("ending", "exit_"), [(fail("e"), Failure("e")), (halt("h"), Halted("h"))])
def test_gather_stops_at_the_first_that_does_not_succeed_and_waits_for_the_others(run, ending, exit_):
    notes: list[str] = []
    assert run(gather(after(9_000, succeed("a")), after(1, ending), after(8_000, succeed("c"))), notes) == exit_
    assert sorted(notes) == ["cancelled 8000", "cancelled 9000"]


def test_gather_passes_a_defect_on_as_one_that_can_be_caught(run):
    @program
    def careful() -> Do[Any, Any, Any]:
        try:
            yield from gather(after(9_000, succeed("a")), after(1, crash(KeyError("k"))))
        except KeyError:
            return "caught"

    assert run(careful(), []) == Success("caught")
    assert isinstance(run(gather(crash(KeyError("k"))), []).cause, KeyError)


def test_as_completed_returns_the_values_in_the_order_in_which_they_come(run):
    programs = (after(30, succeed("a")), after(1, succeed("b")), after(15, succeed("c")))
    assert run(as_completed(*programs), []) == Success(("b", "c", "a"))
    assert run(as_completed(), []) == Success(())
    notes: list[str] = []
    slow = after(9_000, succeed("d"))
    assert run(as_completed(slow, *programs, count=2), notes) == Success(("b", "c"))
    assert sorted(notes) == ["cancelled 30", "cancelled 9000"]


@pytest.mark.parametrize(("ending", "exit_"), [(fail("e"), Failure("e")), (halt("h"), Halted("h"))])
def test_as_completed_stops_at_the_first_that_does_not_succeed(run, ending, exit_):
    notes: list[str] = []
    assert run(as_completed(after(9_000, succeed("a")), after(1, ending)), notes) == exit_
    handled = as_completed(after(9_000, succeed("a")), after(1, succeed("b")), then=lambda _: ending)
    assert run(handled, notes) == exit_
    assert notes == ["cancelled 9000"] * 2
    assert isinstance(run(as_completed(crash(KeyError("k"))), []).cause, KeyError)
    assert isinstance(run(as_completed(succeed(0), then=lambda value: 1 / value), []).cause, ZeroDivisionError)


def test_a_defect_of_a_cancelled_program_is_logged():
    @program
    def breaks() -> Do[Any, Any, Any]:
        try:
            yield from sleep(9_000 * MS)
        finally:
            yield from crash(KeyError("lost"))

    simulation = Simulation(seed=3)
    assert run_sync(as_completed(breaks(), succeed("a"), count=1), [], simulation=simulation) == Success(("a",))
    assert [entry.message for entry in simulation.logs] == ["finalizer of a cancelled branch raised"]


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 4), st.integers(1, 8), st.integers(0, 1_000))
def test_as_completed_handles_one_value_at_a_time_and_runs_at_most_its_limit(delays, limit, count, seed):
    running, handling, ended, handled = [0, 0], [0, 0], list[int](), list[int]()

    @program
    def busy(numbers: list[int], delay_ms: int) -> Do[None]:
        numbers[0] += 1
        numbers[1] = max(numbers)
        yield from sleep(max(1, delay_ms) * MS)
        numbers[0] -= 1

    @program
    def work(place: int) -> Do[int]:
        yield from busy(running, delays[place])
        ended.append(place)
        return place

    @program
    def handle(place: int) -> Do[int]:
        handled.append(place)
        yield from busy(handling, 7)
        return -place

    programs, most = [work(place) for place in range(len(delays))], min(count, len(delays))
    both = as_completed(*programs, then=handle, count=most or None, limit=limit)
    assert run_sync(both, None, simulation=Simulation(seed=seed)) == Success(tuple(-place for place in handled))
    assert handled == ended[: len(handled)]
    assert len(handled) == most
    assert running[1] <= limit
    assert handling[1] <= 1


@pytest.mark.parametrize("options", [{"limit": 0}, {"count": 0}, {"count": 2}, {"then": "then"}])
def test_as_completed_refuses_wrong_arguments(options):
    with pytest.raises(DefinitionError, match=f"{next(iter(options))} of as_completed"):
        as_completed(succeed(1), **options)
    with pytest.raises(NotAProgram, match="argument 2 of as_completed"):
        as_completed(succeed(1), 2)


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 5), st.integers(0, 1_000))
def test_gather_never_runs_more_than_its_limit(delays, limit, seed):
    running: list[int] = [0, 0]

    @program
    def work(delay_ms: int) -> Do[int]:
        running[0] += 1
        running[1] = max(running)
        yield from sleep(max(1, delay_ms) * MS)
        running[0] -= 1
        return delay_ms

    exit_ = run_sync(gather(*[work(d) for d in delays], limit=limit), None, simulation=Simulation(seed=seed))
    assert exit_ == Success(tuple(delays))
    assert running == [0, min(limit, len(delays))]


def test_gather_of_many_is_not_deeper_than_of_few():
    assert run_sync(gather(*[succeed(n) for n in range(5_000)]), None) == Success(tuple(range(5_000)))


def test_those_beyond_the_limit_never_begin_after_a_failure(run):
    notes: list[str] = []
    assert run(gather(fail("e"), note("begun"), limit=1), notes) == Failure("e")
    assert notes == []


@pytest.mark.parametrize("ending", [succeed(1), fail(2), halt(3)])
def test_race_is_decided_by_the_first_to_end(run, ending):
    notes: list[str] = []
    assert run(race(after(9_000, succeed("slow")), after(1, ending)), notes) == run_sync(ending, None)
    assert notes == ["cancelled 9000"]


def test_a_defect_in_a_losers_finalizer_is_logged():
    simulation = Simulation()
    broken = sleep(10 * MS).on_exit(crash(KeyError("lost")))
    assert run_sync(race(broken, sleep(MS)), None, simulation=simulation) == Success(None)
    assert [(record.level, str(record.fields["cause"])) for record in simulation.logs] == [("error", "'lost'")]


def test_timeout_returns_the_value_in_time_and_cancels_otherwise(run):
    notes: list[str] = []
    assert run(after(1, succeed("a")).timeout("5s"), notes) == Success("a")
    assert run(after(1, fail("e")).timeout("5s"), notes) == Failure("e")
    assert run(after(9_000, succeed("a")).timeout(20 * MS), notes) == Failure(EffectTimeout(20 * MS))
    assert notes == ["cancelled 9000"]


def test_the_exit_of_a_finalizer_during_a_timeout_remains(run):
    assert run(sleep("1h").on_exit(fail("no")).timeout(MS), None) == Failure("no")
    assert run(sleep("1h").on_exit(halt("stop")).timeout(MS), None) == Halted("stop")
    assert isinstance(run(sleep("1h").on_exit(crash(KeyError("k"))).timeout(MS), None).cause, KeyError)


def test_cancelling_the_whole_cancels_and_awaits_the_branches():
    notes: list[str] = []
    whole = gather(after(9_000, succeed(1)), race(after(8_000, succeed(2)), after(7_000, succeed(3)).timeout("1h")))

    async def main() -> None:
        running = asyncio.ensure_future(run_async(whole, notes))
        await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert sorted(notes) == ["cancelled 7000", "cancelled 8000", "cancelled 9000"]


def test_a_service_that_raises_a_cancellation_of_its_own_cancels_the_whole(run):
    for whole in (gather, race, lambda one, _: one.timeout("1h")):
        with pytest.raises(asyncio.CancelledError):
            run(whole(crash(asyncio.CancelledError()), after(9_000, succeed(1))), [])


def test_keyboard_interrupt_comes_out_of_a_branch(run):
    with pytest.raises(KeyboardInterrupt):
        run(gather(crash(KeyboardInterrupt()), after(9_000, succeed(1))), [])


def test_bad_arguments_are_refused_where_they_are_written():
    with pytest.raises(DefinitionError, match="limit of gather"):
        gather(succeed(1), limit=0)
    with pytest.raises(DefinitionError, match="at least one"):
        race()
    with pytest.raises(NotAProgram, match="argument 2 of gather"):
        gather(succeed(1), 2)
    with pytest.raises(DefinitionError, match="timeout"):
        succeed(1).timeout("soon")
    with pytest.raises(DefinitionError, match="sleep"):
        sleep("soon")


def test_time_is_virtual_without_an_event_loop():
    @program
    def wait() -> Do[timedelta]:
        before = yield from now()
        yield from sleep("365 d")
        return (yield from now()) - before

    assert run_sync(wait(), None) == Success(timedelta(days=365))
    assert run_sync(now(), None, simulation=Simulation(start=START)) == Success(START)


@attrs.frozen
class Attempts:
    """Try so many times, a second apart; remember the calls."""

    limit: int
    asked: list[tuple[Any, ...]] = attrs.Factory(list)

    def next_delay_ms(self, attempt, error, *, first_failed_ms, now_ms, jitter):
        self.asked.append((attempt, error, now_ms - first_failed_ms))
        assert 0 <= jitter < 1
        return None if attempt >= self.limit else 1_000


def test_retry_calls_the_schedule_and_runs_again():
    tries: list[str] = []
    flaky = note("try").bind(lambda _: fail(len(tries)) if len(tries) < 3 else succeed("done"))
    schedule = Attempts(5)
    assert run_sync(flaky.retry(schedule), tries) == Success("done")
    assert schedule.asked == [(1, 1, 0), (2, 2, 1_000)]


def test_retry_gives_up_with_the_last_error(run):
    tries: list[str] = []
    assert run_sync(note("try").bind(lambda _: fail(len(tries))).retry(Attempts(3)), tries) == Failure(3)
    assert len(tries) == 3


def test_retry_leaves_defects_and_halts_alone():
    assert run_sync(halt("h").retry(Attempts(3)), None) == Halted("h")
    assert isinstance(run_sync(crash(KeyError()).retry(Attempts(3)), None), Raised)


@attrs.frozen
class Ask(Instruction[str, str]):
    question: str = "?"


@attrs.define
class Owner:
    """Answers, but not in branches; counts how often it was branched."""

    answered: int = 0
    branches: int = 0

    def answer(self, instruction):
        if not isinstance(instruction, Ask):
            return PASS
        self.answered += 1
        return Success("owner")

    def branch(self):
        self.branches += 1
        return lambda_interceptor


@attrs.frozen
class Refuse:
    def answer(self, instruction):
        if isinstance(instruction, Ask):
            raise TypeError("not in a branch")
        return PASS

    def branch(self):
        return self


lambda_interceptor = Refuse()


def test_an_interceptor_returns_each_branch_its_own(run):
    for whole, branches in ((gather(perform(Ask()), succeed(1)), 2), (perform(Ask()).timeout("1h"), 1)):
        owner = Owner()
        exit_ = run(sandbox(perform(Ask()).bind(lambda _, whole=whole: whole), owner)).unwrap()
        assert isinstance(exit_.cause, TypeError)
        assert (owner.answered, owner.branches) == (1, branches)


class Answering:
    def answer(self, instruction):
        return f"answered {type(instruction).__name__}"

    def branch(self):
        return self


class AnsweringCallable(Answering):
    def __call__(self, instruction):
        raise AssertionError("an interceptor that can be called is asked as an interceptor")


@pytest.mark.parametrize("given", [Answering(), AnsweringCallable(), lambda op: f"answered {type(op).__name__}"])
def test_an_interceptor_is_a_value_that_answers_or_a_function(run, given):
    assert run(sandbox(perform(Ask()), given)) == Success(Success("answered Ask"))


def test_a_function_intercepts_in_branches_too(run):
    whole = gather(perform(Ask()), perform(Ask()).timeout("1h"))
    assert run(sandbox(whole, lambda _: Failure("f"))) == Success(Failure("f"))
    assert run(sandbox(whole, lambda op: "yes" if isinstance(op, Ask) else PASS)) == Success(Success(("yes", "yes")))


def test_the_innermost_sandbox_is_called_first_and_passes_outwards(run):
    asked: list[str] = []

    def interceptor(name, answer):
        def ask(_):
            asked.append(name)
            return answer

        return ask

    inner = sandbox(perform(Ask()), interceptor("inner", PASS))
    assert run(sandbox(inner, interceptor("outer", Failure("no")))) == Success(Success(Failure("no")))
    assert asked == ["inner", "outer"]
    assert run(sandbox(sandbox(succeed(1), interceptor("inner", 1)).bind(lambda _: perform(Ask())), lambda _: 2)) == (
        Success(Success(2))
    )


def test_a_sandbox_restores_the_services(run):
    assert run(sandbox(fail("e").modify_env(len)).bind(lambda _: Program.ask()), "abc") == Success("abc")


@effect
async def step(services, name):
    services.append(name)
    await services.runtime.sleep(0)
    return Success(None)


class Trace(list[str]):
    """Notes, with a runtime to wait in."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self.runtime = simulation.runtime


def interleaving(seed: int) -> tuple[str, ...]:
    simulation = Simulation(seed=seed)
    trace = Trace(simulation)
    branches = [
        step(name).bind(lambda _, name=name: step(name)).bind(lambda _, name=name: step(name)) for name in "abc"
    ]
    assert run_sync(gather(*branches), trace, simulation=simulation) == Success((None, None, None))
    return tuple(trace)


@given(st.integers(0, 10_000))
def test_one_seed_is_one_interleaving(seed):
    assert interleaving(seed) == interleaving(seed)


def test_seeds_find_different_interleavings():
    assert len({interleaving(seed) for seed in range(30)}) > 20


@pytest.mark.parametrize("microseconds", [1, 999, 1_000, 1_001])
def test_a_wait_of_microseconds_is_not_shorter_than_that(microseconds: int) -> None:
    length = timedelta(microseconds=microseconds)
    simulation = Simulation(start=START)
    assert run_sync(sleep(length), None, simulation=simulation) == Success(None)
    assert timedelta(0) <= simulation.now - START - length < MS


@given(
    start=st.timedeltas(timedelta(0), timedelta(seconds=1)),
    ahead=st.timedeltas(timedelta(milliseconds=-2), timedelta(milliseconds=5)),
)
def test_sleep_until_waits_for_its_instant_and_not_for_a_past_one(start: timedelta, ahead: timedelta) -> None:
    began = START + start
    simulation = Simulation(start=began)
    assert run_sync(sleep_until(began + ahead), None, simulation=simulation) == Success(None)
    late = simulation.now - max(began, began + ahead)
    assert timedelta(0) <= late < 2 * MS


def test_sleep_until_waits_again_if_the_wall_clock_went_back() -> None:
    simulation = Simulation(start=START)
    simulation.runtime.call_later(30, lambda: simulation.shift_wall_clock(-1_000))
    assert run_sync(sleep_until(START + 60 * MS), None, simulation=simulation) == Success(None)
    assert simulation.now == START + 60 * MS


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(DefinitionError, match="sleep_until: expected an aware datetime"):
        sleep_until(datetime(2026, 3, 8, 9))  # noqa: DTZ001 - the mistake that is refused
