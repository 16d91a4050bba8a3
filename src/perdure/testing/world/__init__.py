"""A world for an app: the real engine, client and store, with simulated time and randomness."""

from perdure.testing.world.boundary import Interleaving
from perdure.testing.world.clock import START, Clock
from perdure.testing.world.errors import (
    EventLoopRunning,
    NotAtRest,
    NoWorker,
    UnansweredCall,
    UnexpectedSuccess,
    WorkerDied,
    WorkerRunning,
)
from perdure.testing.world.trace import UNANSWERED, EffectCall, TraceDetail, TraceEvent
from perdure.testing.world.world import PendingCall, World

__all__ = [
    "START",
    "UNANSWERED",
    "Clock",
    "EffectCall",
    "EventLoopRunning",
    "Interleaving",
    "NoWorker",
    "NotAtRest",
    "PendingCall",
    "TraceDetail",
    "TraceEvent",
    "UnansweredCall",
    "UnexpectedSuccess",
    "WorkerDied",
    "WorkerRunning",
    "World",
]
