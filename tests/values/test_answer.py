"""The outcomes of workflows and items can be matched by position."""

from typing import Any

import pytest

from perdure.kinds.worker_pool.items import Waiting
from perdure.values.answer import Done, WasCancelled
from perdure.values.outcome import Failed


def shown(outcome: object) -> object:
    match outcome:
        case Done(value):
            return value
        case Failed(error):
            return error
        case WasCancelled(reason):
            return reason
        case Waiting(status):
            return status
        case _:
            return "no outcome"


@pytest.mark.parametrize("outcome", [Done, Failed, WasCancelled, Waiting])
def test_an_outcome_is_matched_by_position(outcome: Any) -> None:
    assert shown(outcome("it")) == "it"
