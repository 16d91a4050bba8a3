"""The requirements and the cases that check them, as a table for the documentation."""

from __future__ import annotations

from perdure.testing.conformance.requirement import Requirement
from perdure.testing.conformance.requirements import NO_CASE, REQUIREMENTS
from perdure.testing.conformance.suite import CASES


def requirement_table() -> str:
    """Write the table of requirements and cases.

    Returns:
        A table in Markdown, a row for each requirement in the order of the contract.
    """
    rows = ["| of | requirement | checked by |", "|---|---|---|"]
    rows += [
        f"| `{requirement.operation}` | {_text(requirement)} | {_cases(requirement)} |" for requirement in REQUIREMENTS
    ]
    return "\n".join(rows)


def _text(requirement: Requirement) -> str:
    return requirement.text.replace("``", "`")


def _cases(requirement: Requirement) -> str:
    if requirement in NO_CASE:
        return f"no case: {NO_CASE[requirement]}"
    return ", ".join(f"`{case.name}`" for case in CASES if requirement in case.requirements)
