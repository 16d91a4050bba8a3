"""Behaviour coverage: the pairs of state and event in a test run, and the resulting states."""

from perdure.testing.coverage.job_coverage import JobCoverage, ObservedTransition, as_mermaid, as_text, merged
from perdure.testing.coverage.observer import CoverageObserver

__all__ = ["CoverageObserver", "JobCoverage", "ObservedTransition", "as_mermaid", "as_text", "merged"]
