"""The proof in words."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.cli.demo.proof import Proof

Tone: TypeAlias = Literal["plain", "good", "bad"]

SHOWN_IDS = 3


@attrs.frozen
class ProofLine:
    """One number of the proof.

    Attributes:
        label: what is counted.
        number: how many.
        meaning: where the number comes from.
        tone: whether it is what it should be.
    """

    label: str
    number: int
    meaning: str
    tone: Tone = "plain"


def proof_lines(proof: Proof) -> tuple[ProofLine, ...]:
    """Say each number of the proof, and where it comes from."""
    return (
        ProofLine("sent", proof.sent, "sendings, those after the crash included"),
        ProofLine("duplicates suppressed", proof.repeats, "sent again under the same id, without effect"),
        ProofLine("rejected", proof.rejected, "refused by the order's state machine"),
        ProofLine("accepted", proof.accepted, "different events that were acknowledged"),
        ProofLine("processed", proof.processed, "of them, in what sink and mailer wrote down", _met(proof)),
        ProofLine("delivered again", proof.redelivered, "runs cut off by the kill, under their run id"),
        _bad_if_any("done twice", proof.twice, "events with more effects than they should"),
        _bad_if_any("unanswered", proof.unanswered, "events that were never answered"),
        _bad_if_any("lost", proof.lost, "acknowledged events without a trace outside"),
    )


def verdict(proof: Proof) -> str:
    """Say in one sentence whether the proof holds."""
    if proof.holds:
        return "The proof holds: each acknowledged event was done once, and none was lost."
    return "The proof does NOT hold: see the numbers that should be 0."


def _met(proof: Proof) -> Tone:
    return "good" if proof.processed == proof.accepted else "bad"


def _bad_if_any(label: str, ids: tuple[str, ...], meaning: str) -> ProofLine:
    if not ids:
        return ProofLine(label, 0, meaning, "good")
    more = f", and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ProofLine(label, len(ids), f"{meaning}: {', '.join(ids[:SHOWN_IDS])}{more}", "bad")
