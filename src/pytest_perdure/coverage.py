"""``--perdure-coverage``: observes every world of a test run, under xdist of all workers, and reports the behaviour."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.testing.coverage import CoverageObserver, JobCoverage, as_mermaid, as_text, merged
from perdure.testing.world.world import WORLD_WATCHERS

_SENT = "perdure_coverage"


class CoverageOfBehaviour:
    """The part of the plugin that is active with ``--perdure-coverage``.

    Args:
        config: the configuration of the test run.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._observer = CoverageObserver()
        self._parts: list[JobCoverage] = []
        WORLD_WATCHERS.append(self._observer.of)

    def pytest_sessionfinish(self) -> None:
        """Send this process's observations to the reporting process, if that is another one."""
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_SENT] = [coverage.plain() for coverage in self._observer.jobs.values()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # a node of xdist, which has no types
        """Add a worker's observations."""
        sent = getattr(node, "workeroutput", {}).get(_SENT, ())
        self._parts += [JobCoverage.read(plain) for plain in sent]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report."""
        terminalreporter.section("behaviour coverage")
        found = merged([*self._parts, *self._observer.jobs.values()])
        for coverage in sorted(found.values(), key=lambda each: each.job):
            terminalreporter.write_line(f"{as_text(coverage)}\n\n{as_mermaid(coverage)}\n")

    def pytest_unconfigure(self) -> None:
        """Stop observing."""
        WORLD_WATCHERS.remove(self._observer.of)
