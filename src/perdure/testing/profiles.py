"""Profiles of Hypothesis for tests of jobs, under names that clash with nobody's."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

PHASES = tuple(phase for phase in Phase if phase is not Phase.explain)
"""Explaining traces each line that runs: with an engine in between that takes twenty times as long as finding and
shrinking, and names lines of the engine."""

PROFILES = ("perdure-dev", "perdure-ci", "perdure-nightly")


def register_profiles() -> None:
    """Make the profiles known to Hypothesis; none of them is loaded by it.

    ``perdure-dev`` is for the desk: 50 examples. ``perdure-ci`` is the same on every run: 100 examples, drawn from no
    chance and no database. ``perdure-nightly`` looks hard: 1,000 examples of 100 steps. None has a deadline: a world is
    fast on the whole, and a single step of it may not be. None has the phase ``explain``, which traces the engine.

    The pytest plugin registers them by itself where ``--hypothesis-profile`` names one. In a ``conftest.py``::

        register_profiles()
        settings.load_profile("perdure-dev")
    """
    patient = settings(deadline=None, print_blob=True, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("perdure-dev", patient, max_examples=50)
    settings.register_profile("perdure-ci", patient, max_examples=100, derandomize=True, database=None)
    settings.register_profile("perdure-nightly", patient, max_examples=1_000, stateful_step_count=100)
