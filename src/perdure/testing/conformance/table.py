"""The promises and the cases that check them, as a table for the documentation."""

from __future__ import annotations

from perdure.testing.conformance.requirement import Requirement
from perdure.testing.conformance.requirements import NO_CASE, REQUIREMENTS
from perdure.testing.conformance.suite import CASES


def requirement_table() -> str:
    """Write the table of promises and cases.

    Returns:
        A table in Markdown, a row for each promise in the order of the contract.
    """
    rows = ["| of | promise | checked by |", "|---|---|---|"]
    rows += [f"| `{promise.operation}` | {_text(promise)} | {_cases(promise)} |" for promise in REQUIREMENTS]
    return "\n".join(rows)


def _text(promise: Requirement) -> str:
    return promise.text.replace("``", "`")


def _cases(promise: Requirement) -> str:
    if promise in NO_CASE:
        return f"no case: {NO_CASE[promise]}"
    return ", ".join(f"`{case.name}`" for case in CASES if promise in case.keeps)
