"""The engine: takes turns. Everything that waits, spawns, queues or draws goes through the ``Runtime`` record."""
