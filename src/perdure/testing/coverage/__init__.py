"""Coverage of behaviour: which states met which events in a test run, and what came of it."""

from perdure.testing.coverage.observed import JobCoverage, ObservedTransition, merged
from perdure.testing.coverage.observer import CoverageObserver
from perdure.testing.coverage.report import as_mermaid, as_text

__all__ = ["CoverageObserver", "JobCoverage", "ObservedTransition", "as_mermaid", "as_text", "merged"]
