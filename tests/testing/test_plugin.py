"""The pytest plugin, in a pytest of its own, beside the plugins that people have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = """
from attrs import frozen
from returns.result import Result, Success

from perdure import Decision, App, Task


@frozen
class Count:
    total: int = 0


@frozen
class Add:
    amount: int


def decide(count: Count, event: Add) -> Result[Decision[Count], str]:
    return Success(Decision(Count(count.total + event.amount)))


counter = Task("counter", state=Count, event=Add, initial=Count(), decide=decide)
app = App(None).with_jobs(counter)
"""

ASSERTS_ON_THE_WORLD = """
from jobs import Add, Count, app, counter


def test_adds(perdure_world):
    world = perdure_world(app, debug=True)
    world.run(world.handle(counter).send("a", Add(2)))
    assert world.run(world.handle(counter).get_state("a")) == Count({expected})
"""


ALONE = ("-p", "pytest_perdure.plugin", "-p", "_hypothesis_pytestplugin")
"""Load no other plugin than ours and that of Hypothesis: to import all that are installed takes three seconds."""


def run(folder: Path, tests: str, *options: str) -> str:
    """Run pytest over some tests, with the plugins of the options alone; returns its output."""
    return printed_by(folder, tests, *ALONE, *options, environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def run_beside_all(folder: Path, tests: str, *options: str) -> str:
    """Run pytest over some tests, with all installed plugins; returns its output."""
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    return printed_by(folder, tests, "-pno:schemathesis", "-pno:langsmith_plugin", *scope, *options, environment={})


def printed_by(folder: Path, tests: str, *options: str, environment: dict[str, str]) -> str:
    (folder / "jobs.py").write_text(JOBS)
    (folder / "test_jobs.py").write_text(tests)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        *options,
        "test_jobs.py",
    ]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}  # for this run alone
    ran = subprocess.run(  # noqa: S603 - our own tests
        command, cwd=folder, capture_output=True, text=True, check=False, env=inherited | environment
    )
    return ran.stdout + ran.stderr


def test_it_loads_nothing_of_perdure_before_it_is_used(tmp_path: Path) -> None:
    printed = run_beside_all(
        tmp_path,
        """
import sys


def test_nothing_is_loaded(request):
    assert request.config.pluginmanager.hasplugin("perdure")
    loaded = {name for name in sys.modules if name.partition(".")[0] in {"perdure", "aiosqlite", "orjson", "cattrs"}}
    assert loaded == set()
    assert 1 == 1.0
""",
        "-p", "no:randomly",
    )  # fmt: skip
    assert "1 passed" in printed


def test_a_world_of_a_fixture_is_left_and_prints_its_trace_when_the_test_fails(tmp_path: Path) -> None:
    passed = run(tmp_path, ASSERTS_ON_THE_WORLD.format(expected=2))
    assert "1 passed" in passed
    assert "Trace (time" not in passed
    failed = run(tmp_path, ASSERTS_ON_THE_WORLD.format(expected=3))
    assert "1 failed" in failed
    assert '#1 request to task:counter:a: send {"amount":2}' in failed
    assert (
        "with World(app, seed=0) as world:\n        world.run(world.handle(counter).send('a', Add(amount=2)))" in failed
    )


def test_clock_store_and_events(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        """
from pathlib import Path

from jobs import Add, app, counter


def test_all(perdure_world, perdure_store, perdure_clock, perdure_events):
    before = perdure_clock.now
    world = perdure_world(app, store=perdure_store)
    world.run(world.handle(counter).send("a", Add(1)))
    world.advance("1 hour")
    assert (perdure_clock.now - before).total_seconds() == 3600
    assert [event.type for event in perdure_events] == ["job.started"]
    world.run(world.handle(counter).terminate("a"))
    assert [event.type for event in perdure_events] == ["job.started", "job.terminated"]


def test_each_store_is_tried(perdure_store, tmp_path):
    assert perdure_store in ("memory://", tmp_path / "jobs.db")
""",
        "-v",
    )
    assert "4 passed" in printed
    assert "test_all[memory]" in printed
    assert "test_all[sqlite]" in printed


def test_the_seed_is_an_option(tmp_path: Path) -> None:
    tests = """
from jobs import app

from perdure.testing import Clock


def test_seeds(perdure_world):
    assert perdure_world(app).seed == 11
    assert perdure_world(app, seed=3).seed == 3
    assert perdure_world(app, clock=(clock := Clock())).clock is clock
"""
    assert "1 passed" in run(tmp_path, tests, "--perdure-seed=11")
    assert "1 failed" in run(tmp_path, tests)


def test_profiles_of_hypothesis_are_there_by_name(tmp_path: Path) -> None:
    tests = """
from hypothesis import settings


def test_profile():
    assert settings.get_current_profile_name() == "perdure-ci"
    for name in ("perdure-dev", "perdure-ci", "perdure-nightly"):
        assert settings.get_profile(name).deadline is None
"""
    assert "1 passed" in run(tmp_path, tests, "--hypothesis-profile=perdure-ci")


def test_a_failed_comparison_says_where_two_values_part(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        """
from returns.result import Success

from perdure.values.answer import Sent


def test_answers():
    assert Success(Sent(created=True, status="idle", scheduled_at=None)) == Success(
        Sent(created=False, status="idle", scheduled_at=None)
    )
""",
    )
    assert "Success == Success" in printed
    assert ".success.created: True != False" in printed


SIMULATES = """
from jobs import Add, Count, counter
from returns.result import Success

from perdure import Do, effect, program
from perdure.testing import simulate
from returns.future import FutureResult


@effect
def reach(services, word: str) -> FutureResult[int, str]:
    return FutureResult.from_value(len(word))


@program
def twice(word: str) -> Do[int, str, object]:
    reach("forgotten")
    return (yield from reach("b" * (yield from reach(word))))


def test_exit():
    seen = simulate(twice("aa"), None)
    assert seen.exit == Success(3)


def test_inline():
    assert simulate(twice("aa"), None).never_run == ()


def test_two():
    assert simulate(twice("aa"), None) == simulate(twice("a"), None)


def test_told():
    seen = simulate(twice("aa"), None)
    assert seen.exit == Success(3), seen


def test_good():
    assert simulate(twice("aa"), None).exit == Success(2)
"""


def test_a_failed_test_shows_the_simulated_runs_that_it_held(tmp_path: Path) -> None:
    printed = run(tmp_path, SIMULATES)
    assert "4 failed, 1 passed" in printed
    story = "  1. reach('aa') -> Success(2)\n  2. reach('bb') -> Success(2)\n  => Success(2)\n"
    forgotten = "     built and never run (missing `yield from`?): <Program perform reach('forgotten')> of "
    exit_, inline, two, reported = re.split(r"^_+ test_\w+ _+$", printed, flags=re.MULTILINE)[1:]
    assert f"seen = simulate(...):\n{story}{forgotten}" in exit_
    assert f"\n{story}{forgotten}" in inline
    assert "these runs differ (- left, + right):" in two
    assert "-   1. reach('aa') -> Success(2)" in two
    assert "  2. reach('b') -> Success(1)" in two
    assert f"seen = simulate(...):\n{story}{forgotten}" in reported, "pytest shortens the text of an assertion"


TWO_TESTS = """
import pytest
from hypothesis import given, strategies as st
from jobs import Add, Count, app, counter

from perdure.testing import World


@pytest.mark.parametrize("number", range(4))
def test_fixture(perdure_world, number):
    world = perdure_world(app)
    world.run(world.handle(counter).send("a", Add(number)))
    assert world.run(world.handle(counter).get_state("a")) == Count(number)


@given(st.lists(st.integers(0, 9), max_size=5))
def test_property(amounts):
    with World(app) as world:
        for amount in amounts:
            world.run(world.handle(counter).send("a", Add(amount)))
            world.crash()
            world.open()
        state = world.run(world.handle(counter).get_state("a"))
    assert (state or Count()).total == sum(amounts)
"""


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-p", "pytest_randomly", "-n", "2")], ids=["alone", "xdist"])
def test_it_goes_with_few_plugins(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert "5 passed" in run(tmp_path, TWO_TESTS, *options)


def test_it_goes_with_the_plugins_that_people_have(tmp_path: Path) -> None:
    assert "5 passed" in run_beside_all(tmp_path, TWO_TESTS, "-o", "asyncio_mode=auto")


def test_coroutine_tests_may_use_a_world_in_memory(tmp_path: Path) -> None:
    printed = run_beside_all(
        tmp_path,
        """
import pytest
from jobs import Add, Count, app, counter


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_anyio(perdure_world):
    world = perdure_world(app)
    assert world.run(world.handle(counter).send("a", Add(1))).created


@pytest.mark.asyncio
async def test_asyncio(perdure_world):
    world = perdure_world(app)
    assert world.run(world.handle(counter).send("a", Add(1))).created
""",
        "-o",
        "asyncio_mode=strict",
    )
    assert "2 passed" in printed
