"""What a screen shows at one moment of the demo."""

from __future__ import annotations

import attrs

from perdure.cli.demo.deliveries import Deliveries
from perdure.cli.demo.evidence import Evidence
from perdure.cli.demo.protocol import Seen


@attrs.frozen(kw_only=True)
class View:
    """One moment.

    Attributes:
        elapsed_s: seconds since the demo began.
        phase: what goes on, in a few words.
        sendings: what was sent and answered so far.
        evidence: what the services saw so far.
        seen: how the instances are; None while no worker answers.
    """

    elapsed_s: float
    phase: str
    sendings: Deliveries
    evidence: Evidence
    seen: Seen | None
