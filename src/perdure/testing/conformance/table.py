"""The promises and the cases that check them, as a table for the documentation."""

from __future__ import annotations

from perdure.testing.conformance.promise import Promise
from perdure.testing.conformance.promises import NO_CASE, PROMISES
from perdure.testing.conformance.suite import CASES


def promise_table() -> str:
    """Write the table of promises and cases.

    Returns:
        A table in Markdown, a row for each promise in the order of the contract.
    """
    rows = ["| of | promise | checked by |", "|---|---|---|"]
    rows += [f"| `{promise.operation}` | {_text(promise)} | {_cases(promise)} |" for promise in PROMISES]
    return "\n".join(rows)


def _text(promise: Promise) -> str:
    return promise.text.replace("``", "`")


def _cases(promise: Promise) -> str:
    if promise in NO_CASE:
        return f"no case: {NO_CASE[promise]}"
    return ", ".join(f"`{case.name}`" for case in CASES if promise in case.keeps)
