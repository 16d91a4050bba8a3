"""Search for a history that a store fails, and shrink it, within a bound."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from perdure.testing.conformance.requirement import RequirementViolated
from perdure.testing.conformance.steps import Step

History: TypeAlias = tuple[Step, ...]

# Without the phase that explains: it traces every line of the store, and our failures explain themselves.
_PHASES = tuple(phase for phase in Phase if phase is not Phase.explain)


def _search_settings(max_examples: int) -> settings:
    """Follow the profile that is loaded; without one, draw the same histories on every run."""
    chosen = settings(
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=_PHASES,
        report_multiple_bugs=False,
    )
    if settings.get_current_profile_name() == "default":
        return settings(chosen, derandomize=True, database=None)
    return chosen


def search(
    histories: SearchStrategy[list[Step]], take: Callable[[History], None], *, max_examples: int, max_shrinks: int
) -> None:
    """Run histories until one fails, shrink that one, and raise its failure.

    The histories are the same on every run, unless a Hypothesis profile that draws new ones is loaded.

    Args:
        histories: draws them.
        take: runs one, and raises `RequirementViolated` when it fails.
        max_examples: how many to run until one fails.
        max_shrinks: how many to run after that. Hypothesis alone would shrink for up to five minutes.

    Raises:
        RequirementViolated: that of the smallest history that failed. A failure that was seen once is raised, even if
            the same history would pass the next time.
    """
    failed: dict[History, RequirementViolated] = {}
    runs_left = max_shrinks

    @_search_settings(max_examples)
    @given(histories)
    def pass_all(drawn: list[Step]) -> None:
        nonlocal runs_left
        history = tuple(drawn)
        if history in failed:
            raise failed[history]
        if failed:
            if runs_left == 0:
                raise _Enough
            runs_left -= 1
        try:
            take(history)
        except RequirementViolated as broken:
            failed[history] = broken
            raise

    with suppress(_Enough, RequirementViolated):
        pass_all()
    if failed:
        broken = failed[min(failed, key=_size)]
        # Made again without the note of hypothesis: the failure lists the operations; the drawn steps fill a screen.
        raise RequirementViolated(
            broken.what, details=broken.details, requirements=broken.requirements, story=broken.story
        ) from broken.__cause__


class _Enough(BaseException):  # not an Exception, so that hypothesis lets it through at once
    """The bound is reached."""


def _size(history: History) -> tuple[int, int]:
    return len(history), len(repr(history))
