"""The runtime: time, waiting, task creation, randomness, ids and logging, in one record."""
