"""Generic mutants that no test can kill: survivors that were read, and why they behave as the library does."""

EQUIVALENT: dict[tuple[str, str], str] = {}
"""By the file below ``src/perdure`` and the change as `search.py` shows it."""
