"""A world for an app: the real engine, client and store, with time and chance simulated."""

from perdure.testing.world.border import Interleaving
from perdure.testing.world.call import Call
from perdure.testing.world.clock import START, Clock
from perdure.testing.world.errors import (
    AnswerLost,
    LoopIsRunning,
    NotAnswered,
    NotRefused,
    NoWorker,
    WorkerDied,
    WorkerOpen,
)
from perdure.testing.world.faults import (
    STORE_OPERATIONS,
    Crashes,
    EffectFault,
    Fails,
    Fault,
    Holds,
    LosesAnswer,
    Raises,
    StoreFault,
    Takes,
)
from perdure.testing.world.moment import UNANSWERED, EffectCall, Happening, Moment
from perdure.testing.world.world import World

__all__ = [
    "START",
    "STORE_OPERATIONS",
    "UNANSWERED",
    "AnswerLost",
    "Call",
    "Clock",
    "Crashes",
    "EffectCall",
    "EffectFault",
    "Fails",
    "Fault",
    "Happening",
    "Holds",
    "Interleaving",
    "LoopIsRunning",
    "LosesAnswer",
    "Moment",
    "NoWorker",
    "NotAnswered",
    "NotRefused",
    "Raises",
    "StoreFault",
    "Takes",
    "WorkerDied",
    "WorkerOpen",
    "World",
]
