"""Hypothesis profiles for tests of jobs."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

PHASES = tuple(phase for phase in Phase if phase is not Phase.explain)
"""The phase ``explain`` traces each executed line: with an engine that takes twenty times as long as finding and
shrinking, and reports lines of the engine."""

PROFILES = ("perdure-dev", "perdure-ci", "perdure-nightly")


def register_profiles() -> None:
    """Register the profiles with Hypothesis; this loads none of them.

    ``perdure-dev`` is for development: 50 examples. ``perdure-ci`` is the same on every run: 100 examples, derandomized
    and without a database. ``perdure-nightly`` searches more: 1,000 examples of 100 steps. None has a deadline, because
    a single step of a world may be slow. None has the phase ``explain``, which traces the engine.

    The pytest plugin registers them when ``--hypothesis-profile`` names one. In a ``conftest.py``::

        register_profiles()
        settings.load_profile("perdure-dev")
    """
    patient = settings(deadline=None, print_blob=True, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("perdure-dev", patient, max_examples=50)
    settings.register_profile("perdure-ci", patient, max_examples=100, derandomize=True, database=None)
    settings.register_profile("perdure-nightly", patient, max_examples=1_000, stateful_step_count=100)
