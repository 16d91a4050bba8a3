"""The typed handle of a reminder, and its teller."""

from __future__ import annotations

from typing import Never

import attrs

from perdure import Program
from perdure.jobs.call import Call
from perdure.jobs.definition import CallError, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.values.answer import PauseResult
from reminder.context import Snooze, Wish


@attrs.frozen
class ReminderHandle(JobHandle[str, Never]):
    """The calls of a reminder."""

    def wish(self, id_: str, text: str, /, *, idempotency_key: str | None = None) -> Call[PauseResult, CallError]:
        return self._send(id_, Wish(text), "wish", text, key=idempotency_key)

    def snooze(self, id_: str, by_ms: int, /) -> Call[PauseResult, CallError]:
        return self._send(id_, Snooze(by_ms), "snooze", by_ms)


@attrs.frozen
class ReminderSender:
    """The messages that other jobs can send to a reminder."""

    post: PostCommand

    def wish(self, text: str, /) -> Program[None]:
        return self.post("wish", text)
