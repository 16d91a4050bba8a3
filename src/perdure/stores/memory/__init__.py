"""The memory store."""

from perdure.stores.memory.opening import MemoryBackend, SharedMemoryBackend, memory_store

__all__ = ["MemoryBackend", "SharedMemoryBackend", "memory_store"]
