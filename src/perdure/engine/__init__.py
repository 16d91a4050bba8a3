"""The engine executes turns. All waiting, task creation, queueing and randomness goes through ``Runtime``.

Imports point one way, and each of these may import those before it: ``sinks``, ``mailbox``, ``observing``, ``commits``,
``runs``, ``turn``, ``pending_work``, ``dispatcher``, ``loops``, ``sharing``, ``running``.
"""
