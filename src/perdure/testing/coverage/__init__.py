"""Behaviour coverage: the pairs of state and event in a test run, and the resulting states."""

from perdure.testing.coverage.observed import JobCoverage, ObservedTransition, merged
from perdure.testing.coverage.observer import CoverageObserver
from perdure.testing.coverage.report import as_mermaid, as_text

__all__ = ["CoverageObserver", "JobCoverage", "ObservedTransition", "as_mermaid", "as_text", "merged"]
