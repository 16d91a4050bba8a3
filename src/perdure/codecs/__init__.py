"""Convert states, events, inputs and errors strictly to JSON and back."""

from __future__ import annotations

from perdure.codecs.codec import MAX_PROBLEMS, Codec, NewerOnly, Opened, fingerprint
from perdure.codecs.json_schema import TAG, describe_type
from perdure.codecs.migrations import Migrations, UpcastFailed, Upgrades
from perdure.codecs.schema import MAX_NESTING, StoredAs

__all__ = [
    "MAX_NESTING",
    "MAX_PROBLEMS",
    "TAG",
    "Codec",
    "Migrations",
    "NewerOnly",
    "Opened",
    "StoredAs",
    "UpcastFailed",
    "Upgrades",
    "describe_type",
    "fingerprint",
]
