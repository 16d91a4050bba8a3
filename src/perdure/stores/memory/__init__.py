"""The memory store."""

from perdure.stores.memory.backend import MemoryBackend, memory_store

__all__ = ["MemoryBackend", "memory_store"]
