"""The contents of a screen at one moment of the demo."""

from __future__ import annotations

import attrs

from perdure.cli.demo.deliveries import Deliveries
from perdure.cli.demo.evidence import Evidence
from perdure.cli.demo.protocol import Seen


@attrs.frozen(kw_only=True)
class View:
    """One moment.

    Attributes:
        elapsed_s: seconds since the start of the demo.
        phase: the current step, in a few words.
        deliveries: the sent events and their answers so far.
        evidence: the journals of the services so far.
        seen: the instances; None while no worker answers.
    """

    elapsed_s: float
    phase: str
    deliveries: Deliveries
    evidence: Evidence
    seen: Seen | None
