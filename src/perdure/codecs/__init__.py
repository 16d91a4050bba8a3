"""Strict conversion of states, events, inputs and errors to JSON and back."""

from __future__ import annotations

from perdure.codecs.codec import MAX_PROBLEMS, Codec, NewerOnly, Opened
from perdure.codecs.fingerprints import fingerprint
from perdure.codecs.json_schema import TAG
from perdure.codecs.migrations import Migrations
from perdure.codecs.names import describe_type
from perdure.codecs.schema import MAX_NESTING
from perdure.codecs.upgrades import UpcastFailed, Upgrades

__all__ = [
    "MAX_NESTING",
    "MAX_PROBLEMS",
    "TAG",
    "Codec",
    "Migrations",
    "NewerOnly",
    "Opened",
    "UpcastFailed",
    "Upgrades",
    "describe_type",
    "fingerprint",
]
