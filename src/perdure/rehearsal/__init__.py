"""Rehearsals: run tomorrow's code on today's data, in virtual time, before you deploy it."""

import importlib

try:
    importlib.import_module("hypothesis")
except ModuleNotFoundError as error:
    _missing = f"no module {error.name}: perdure.rehearsal needs the extra 'testing': pip install 'perdure[testing]'"
    raise ModuleNotFoundError(_missing, name=error.name) from error

from perdure.rehearsal.answers import FromJson, NoAnswers, ServiceAnswers
from perdure.rehearsal.arrivals import Arrivals, drawn, repeated
from perdure.rehearsal.compare import Rehearsal, RehearsalOptions, rehearse
from perdure.rehearsal.debugging import JournalDebugger, JournalPosition, ProgramFrame, debug_journal
from perdure.rehearsal.difference import Cause, Comparison, DifferenceGroup, Example
from perdure.rehearsal.future import Act, Futures, InstanceFuture, TooManyActs, futures_of
from perdure.rehearsal.image import Image, meeting, read_image
from perdure.rehearsal.past import NoArrivals, PastLife, PastRequest, read_histories
from perdure.rehearsal.replayed_history import HistoryDebugger, HistoryPosition, ReplayedEffect, debug_history
from perdure.rehearsal.simulated_load import (
    Capacity,
    CapacityLoad,
    CapacityOptions,
    MeasuredLoad,
    capacity,
    measured_in,
)
from perdure.rehearsal.timeline import FutureQuestion, InstanceTimeline, TimelineEntry, WhatIfEvent, future_of

__all__ = [
    "Act",
    "Arrivals",
    "Capacity",
    "CapacityLoad",
    "CapacityOptions",
    "Cause",
    "Comparison",
    "DifferenceGroup",
    "Example",
    "FromJson",
    "FutureQuestion",
    "Futures",
    "HistoryDebugger",
    "HistoryPosition",
    "Image",
    "InstanceFuture",
    "InstanceTimeline",
    "JournalDebugger",
    "JournalPosition",
    "MeasuredLoad",
    "NoAnswers",
    "NoArrivals",
    "PastLife",
    "PastRequest",
    "ProgramFrame",
    "Rehearsal",
    "RehearsalOptions",
    "ReplayedEffect",
    "ServiceAnswers",
    "TimelineEntry",
    "TooManyActs",
    "WhatIfEvent",
    "capacity",
    "debug_history",
    "debug_journal",
    "drawn",
    "future_of",
    "futures_of",
    "measured_in",
    "meeting",
    "read_histories",
    "read_image",
    "rehearse",
    "repeated",
]
