"""The plugin behind pytest's entry point ``perdure``: fixtures, options, and reports of failed comparisons."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perdure.testing.fixtures import Worlds
    from perdure.testing.world import Clock
    from perdure.values.event import Event

OWN_PROFILES = "perdure-"
"""The prefix of perdure's Hypothesis profiles."""


# ---------------------------------------------------------------- options
def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options."""
    group = parser.getgroup("perdure", "jobs of perdure")
    group.addoption(
        "--perdure-seed",
        type=int,
        default=0,
        metavar="N",
        help="the default seed of worlds, for interleavings, jitter and ids (0)",
    )
    group.addoption(
        "--perdure-coverage",
        action="store_true",
        help="report the observed states and events of each job, as a table and as a state diagram",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the Hypothesis profiles and start observing, as the options request."""
    if config.getoption("--perdure-coverage"):
        from pytest_perdure.coverage import CoverageOfBehaviour  # noqa: PLC0415 - loads perdure

        config.pluginmanager.register(CoverageOfBehaviour(config), "perdure-coverage")
    if str(config.getoption("--hypothesis-profile", None) or "").startswith(OWN_PROFILES):
        from perdure.testing.machine import register_profiles  # noqa: PLC0415 - loads hypothesis

        register_profiles()


# ---------------------------------------------------------------- fixtures
@pytest.fixture
def perdure_clock() -> Clock:
    """The clock of this test's worlds, for fakes of services that need the time."""
    from perdure.testing.world import Clock  # noqa: PLC0415 - loaded by tests that use it

    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def perdure_store(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """A world's store: the test runs once over the memory store, and once over a SQLite file."""
    return "memory://" if request.param == "memory" else tmp_path / "jobs.db"


@pytest.fixture
def perdure_world(request: pytest.FixtureRequest, perdure_clock: Clock) -> Iterator[Worlds]:
    """Open worlds, ``perdure_world(app, services)``, which end after the test.

    If the test fails, its report contains their traces.
    """
    from perdure.testing.fixtures import Worlds  # noqa: PLC0415 - loaded by tests that use it

    seed: int = request.config.getoption("--perdure-seed")  # pyright: ignore[reportAssignmentType] # it has a default
    worlds = Worlds(seed=seed, clock=perdure_clock)
    request.node.stash[_WORLDS] = worlds
    failed = request.session.testsfailed
    yield worlds
    try:
        if request.session.testsfailed == failed:
            worlds.finish()
    finally:
        worlds.leave()


@pytest.fixture
def perdure_events(perdure_world: Worlds) -> list[Event]:
    """The log's events, as they are committed in this test's worlds: a list that grows."""
    return perdure_world.events


_WORLDS: pytest.StashKey[Worlds] = pytest.StashKey()


# ---------------------------------------------------------------- reports
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the traces of its worlds and of its simulated runs to a failed test's report."""
    report = yield
    if call.when == "call" and report.failed and call.excinfo is not None:
        worlds = item.stash.get(_WORLDS, None)
        traces = [] if worlds is None else worlds.traces()
        if "perdure.testing" in sys.modules:
            from perdure.testing.failure_reports import run_traces  # noqa: PLC0415 - loaded when a test has failed

            traces += run_traces(call.excinfo.value)
        report.sections += [("perdure", story) for story in traces]
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show the difference between two values of perdure."""
    if op != "==" or not _is_ours(left) or not _is_ours(right):
        return None
    from perdure.testing.failure_reports import difference  # noqa: PLC0415 - loaded when an assertion has failed

    return difference(left, right)


def _is_ours(value: object) -> bool:
    return type(value).__module__.partition(".")[0] in {"perdure", "returns"}
