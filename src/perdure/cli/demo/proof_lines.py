"""The lines of the proof."""

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
        label: the label.
        number: the number.
        meaning: an explanation of the number.
        tone: whether the number is as it should be.
    """

    label: str
    number: int
    meaning: str
    tone: Tone = "plain"


def proof_lines(proof: Proof) -> tuple[ProofLine, ...]:
    """Return each number of the proof, with its explanation."""
    return (
        ProofLine("sent", proof.sent, "deliveries, including those after the crash"),
        ProofLine("duplicates suppressed", proof.repeats, "sent again under the same id, without effect"),
        ProofLine("rejected", proof.rejected, "refused by the order's state machine"),
        ProofLine("accepted", proof.accepted, "different events that were acknowledged"),
        ProofLine("processed", proof.processed, "of them, found in the journals of sink and mailer", _met(proof)),
        ProofLine("items and steps", proof.work, "mails of the worker pool and the workflows, each sent once"),
        ProofLine("delivered again", proof.redelivered, "runs interrupted by the kill, with the same run id"),
        _bad_if_any("done twice", proof.twice, "events with more than one effect"),
        _bad_if_any("unanswered", proof.unanswered, "events without an answer"),
        _bad_if_any("lost", proof.lost, "acknowledged events without an effect"),
    )


def verdict(proof: Proof) -> str:
    """Return in one sentence whether the proof holds."""
    if proof.holds:
        return "The proof holds: each acknowledged event was processed once, and none was lost."
    return "The proof does NOT hold: see the numbers that should be 0."


def _met(proof: Proof) -> Tone:
    return "good" if proof.processed == proof.accepted else "bad"


def _bad_if_any(label: str, ids: tuple[str, ...], meaning: str) -> ProofLine:
    if not ids:
        return ProofLine(label, 0, meaning, "good")
    more = f", and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ProofLine(label, len(ids), f"{meaning}: {', '.join(ids[:SHOWN_IDS])}{more}", "bad")
