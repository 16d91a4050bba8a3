"""The runtime: time, waiting, spawning, randomness, ids and logging, behind one record."""
