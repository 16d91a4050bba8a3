"""Coverage of behaviour: which states met which events in a test run, and what came of it."""

from perdure.testing.coverage.observed import JobCoverage, Step, merged
from perdure.testing.coverage.observer import Observer
from perdure.testing.coverage.report import as_mermaid, as_text

__all__ = ["JobCoverage", "Observer", "Step", "as_mermaid", "as_text", "merged"]
