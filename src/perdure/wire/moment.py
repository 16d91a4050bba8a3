"""The data that an explanation is computed from, so that a client can compute it with its own definition."""

from __future__ import annotations

from typing import Any

import attrs
import orjson

from perdure.values.transition import Loaded
from perdure.values.turn_inputs import TurnInputs
from perdure.wire.records import data_of, record_of


@attrs.frozen
class Moment:
    """An address at one moment.

    Attributes:
        loaded: the stored data.
        inputs: the inputs that the engine would decide with.
        journal: the rows of the instance's journal.
    """

    loaded: Loaded
    inputs: TurnInputs
    journal: tuple[str, ...] = ()


def encode_moment(moment: Moment) -> bytes:
    """Encode a moment as JSON."""
    inputs = data_of(attrs.evolve(moment.inputs, decoded=None))
    inputs["id_base"] = f"{inputs['id_base']:x}"  # 128 bits: more than a number in JSON
    return orjson.dumps({"loaded": data_of(moment.loaded), "inputs": inputs, "journal": moment.journal})


def moment_of(data: Any) -> Moment:
    """Decode a moment from parsed JSON.

    Raises:
        OutcomeUnknown: the data is not that of a moment.
    """
    inputs = {**data["inputs"], "id_base": int(data["inputs"]["id_base"], 16)}
    journal = tuple(map(str, data.get("journal", ())))
    return Moment(record_of(Loaded, data["loaded"]), record_of(TurnInputs, inputs), journal)
