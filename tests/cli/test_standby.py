"""``perdure run --standby``: a second process takes over when the first one ends, however it ends."""

import signal
from pathlib import Path

import pytest

SHOP = """
from perdure import Continuous, ContinuousContext, Do, App, every, program, effect
from perdure.programs import sleep
from returns.result import Result, Success

@effect
def say(services: object, word: str) -> Result[None, object]:
    print(word, flush=True)
    return Success(None)

@program
def work(ctx: ContinuousContext[int]) -> Do[None, object, object]:
    yield from say(f"began, delivery {ctx.delivery}")
    yield from sleep("1 hour")

worker = Continuous("worker", state=int, schedule=every("1 hour"), execute=work)

def open_shop():
    return App(None).with_jobs(worker)
"""
RUN = ("run", "shop:open_shop", "--store", "sqlite:///jobs.db")


@pytest.fixture(autouse=True)
def shop(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)


def test_a_standby_takes_over_when_the_owner_is_killed(start):
    owner = start(*RUN)
    owner.line("serving")
    standby = start(*RUN, "--standby")
    assert f"held by process {owner.process.pid} on " in standby.line("waiting for the lock of sqlite:///jobs.db")
    owner.signal(signal.SIGKILL)
    standby.line("serving 1 job")
    assert owner.end() == -signal.SIGKILL
    standby.signal(signal.SIGTERM)
    assert standby.end() == 0


def test_a_standby_takes_over_when_the_owner_is_stopped(start):
    owner = start(*RUN)
    owner.line("serving")
    standby = start(*RUN, PERDURE_STANDBY="1")
    standby.line("waiting for the lock")
    owner.signal(signal.SIGTERM)
    assert owner.end() == 0
    standby.line("serving")


def test_an_owner_that_hangs_is_not_taken_over_and_continues(start):
    owner = start(*RUN)
    owner.line("serving")
    standby = start(*RUN, "--standby")
    standby.line("waiting for the lock")
    owner.signal(signal.SIGSTOP)
    other = start(*RUN)
    assert other.end() == 2
    assert f"process {owner.process.pid} on " in other.error
    owner.signal(signal.SIGCONT)
    owner.signal(signal.SIGTERM)
    assert owner.end() == 0  # it served to its end: its file was still its own
    standby.line("serving")


def test_of_two_standbys_one_takes_over_and_the_other_continues_to_wait(start):
    owner = start(*RUN)
    owner.line("serving")
    waiting = [start(*RUN, "--standby"), start(*RUN, "--standby")]
    for standby in waiting:
        standby.line("waiting for the lock")
    owner.signal(signal.SIGKILL)
    third = start(*RUN, "--standby")
    third.line("waiting for the lock")  # a process owns the file again
    serving = [standby for standby in waiting if f"process {standby.process.pid} " in third.seen[-1]]
    assert len(serving) == 1
    serving[0].line("serving")
    serving[0].signal(signal.SIGTERM)
    assert serving[0].end() == 0


def test_a_standby_without_an_owner_serves_at_once(start):
    standby = start(*RUN, "--standby")
    assert "serving" in standby.line("perdure:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_standby_stops_on_request_and_leaves_the_owner_alone(start, number):
    owner = start(*RUN)
    owner.line("serving")
    standby = start(*RUN, "--standby")
    standby.line("waiting for the lock")
    standby.signal(number)
    assert standby.end() == 0
    assert standby.seen[-1] == f"perdure: stopped ({number.name}) before it began"
    owner.signal(signal.SIGTERM)
    assert owner.end() == 0


def test_a_store_without_an_exclusive_owner_cannot_be_waited_for(start):
    command = start("run", "shop:open_shop", "--store", "memory://", "--standby")
    assert command.end() == 2
    assert "expected a store that has one owner" in command.error
