"""The memory store."""

from perdure.stores.memory.backend import MemoryBackend, memory_store
from perdure.stores.memory.shared_backend import SharedMemoryBackend

__all__ = ["MemoryBackend", "SharedMemoryBackend", "memory_store"]
