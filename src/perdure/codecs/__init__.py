"""How states, events, inputs and errors become JSON and come back: strictly, both ways."""

from __future__ import annotations

from perdure.codecs.codec import MAX_PROBLEMS, Codec
from perdure.codecs.fingerprint import fingerprint
from perdure.codecs.names import describe_type
from perdure.codecs.shape import MAX_NESTING
from perdure.codecs.unions import TAG
from perdure.codecs.upgrades import UpcastFailed, Upgrades
from perdure.codecs.versions import Versions

__all__ = [
    "MAX_NESTING",
    "MAX_PROBLEMS",
    "TAG",
    "Codec",
    "UpcastFailed",
    "Upgrades",
    "Versions",
    "describe_type",
    "fingerprint",
]
