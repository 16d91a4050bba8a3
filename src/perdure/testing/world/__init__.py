"""A world for an app: the real engine, client and store, with time and chance simulated."""

from perdure.testing.world.border import Interleaving
from perdure.testing.world.call import Call
from perdure.testing.world.clock import START, Clock
from perdure.testing.world.errors import (
    LoopIsRunning,
    NotAnswered,
    NotAtRest,
    NotRefused,
    NoWorker,
    WorkerDied,
    WorkerOpen,
)
from perdure.testing.world.moment import UNANSWERED, EffectCall, Happening, Moment
from perdure.testing.world.world import World

__all__ = [
    "START",
    "UNANSWERED",
    "Call",
    "Clock",
    "EffectCall",
    "Happening",
    "Interleaving",
    "LoopIsRunning",
    "Moment",
    "NoWorker",
    "NotAnswered",
    "NotAtRest",
    "NotRefused",
    "WorkerDied",
    "WorkerOpen",
    "World",
]
