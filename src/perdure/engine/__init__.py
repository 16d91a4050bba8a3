"""The engine executes turns. All waiting, task creation, queueing and randomness goes through ``Runtime``."""
