"""The kit for testing jobs and stores. Nothing else in the library imports it, nor hypothesis or pytest."""

from perdure.testing.world import (
    Clock,
    Crashes,
    EffectFault,
    Fails,
    Holds,
    LosesAnswer,
    Raises,
    StoreFault,
    Takes,
    WorkerDied,
    World,
)

__all__ = [
    "Clock",
    "Crashes",
    "EffectFault",
    "Fails",
    "Holds",
    "LosesAnswer",
    "Raises",
    "StoreFault",
    "Takes",
    "WorkerDied",
    "World",
]
