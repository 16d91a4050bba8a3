"""Encryption for the data that a store keeps: a wrapper around any store, and its keys."""

from __future__ import annotations

from perdure.stores.encryption.keys import Encryption, Key
from perdure.stores.encryption.sealed_store import encrypted_store

__all__ = ["Encryption", "Key", "encrypted_store"]
