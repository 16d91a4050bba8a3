"""The journals of the services: they are independent of the engine and its store."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias, assert_never

import attrs

from perdure.cli.demo.journal import AlreadyApplied, Called, Entry, JournalReader, ServiceRefused, Taken
from perdure.cli.demo.services import journal_path

CallState: TypeAlias = Literal["open", "taken", "refused"]


@attrs.define
class Account:
    """The calls that one service received.

    Attributes:
        taken: the items of the calls that it executed, by the id of the call.
        refused: the number of refused calls.
        repeated: ids of calls that were repeated although they were not refused: redelivered runs.
    """

    reader: JournalReader
    taken: dict[str, tuple[str, ...]] = attrs.Factory(dict[str, "tuple[str, ...]"])
    refused: int = 0
    repeated: set[str] = attrs.Factory(set[str])
    _states: dict[str, CallState] = attrs.Factory(dict[str, CallState])

    def read(self) -> None:
        """Read the entries since the last read."""
        for entry in self.reader.new_entries():
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        match entry:
            case Called(call):
                if self._states.get(call, "refused") != "refused":
                    self.repeated.add(call)
                self._states[call] = "open"
            case Taken(call, items):
                self._states[call] = "taken"
                self.taken[call] = items
            case AlreadyApplied(call):
                self._states[call] = "taken"
            case ServiceRefused(call):
                self._states[call] = "refused"
                self.refused += 1
            case _:
                assert_never(entry)

    @property
    def under_way(self) -> int:
        """The number of calls without an answer."""
        return sum(state == "open" for state in self._states.values())


@attrs.frozen(kw_only=True)
class Evidence:
    """The journals of the three services."""

    sink: Account
    mail: Account
    auth: Account

    def read(self) -> None:
        """Read the entries since the last read."""
        for account in (self.sink, self.mail, self.auth):
            account.read()

    @property
    def under_way(self) -> int:
        """The number of calls without an answer, over all services."""
        return self.sink.under_way + self.mail.under_way + self.auth.under_way

    @property
    def webhooks(self) -> Counter[str]:
        """Return the number of accepted batches with each webhook, by the id of its event."""
        return Counter(event_id for batch in self.sink.taken.values() for event_id in batch)

    @property
    def mails(self) -> Counter[str]:
        """Return the number of mails with each text."""
        return Counter(text for _, text in self.mail.taken.values())

    @property
    def repeated(self) -> int:
        """The number of runs that called a service again and were recognised by their run id."""
        return len(self.sink.repeated) + len(self.mail.repeated)


def evidence_beside(store: str) -> Evidence:
    """Open the journals next to a store."""
    return Evidence(
        sink=Account(JournalReader(journal_path(store, "sink"))),
        mail=Account(JournalReader(journal_path(store, "mail"))),
        auth=Account(JournalReader(journal_path(store, "auth"))),
    )
