"""Tests of jobs with journals: replays step by step, and the laws of replays."""

from perdure.testing.journal.check import JournalBroken, check_journal
from perdure.testing.journal.recorded import RecordedJournal, recorded_journals
from perdure.testing.journal.stepping import ReplayedStep, replay_journal

__all__ = [
    "JournalBroken",
    "RecordedJournal",
    "ReplayedStep",
    "check_journal",
    "recorded_journals",
    "replay_journal",
]
