"""Bugs in alarms, messages and mailboxes."""

from mutant import Mutant

PAIR = "behaviour/test_order_laws.py::test_messages_of_a_pair_arrive_once_and_in_order"
REQUESTS = "behaviour/test_order_laws.py::test_requests_under_way_together_are_applied_in_their_order"
AGENDA = "engine/test_agenda.py"

MUTANTS = (
    Mutant(
        "a message is buried at its first defect",
        "jobs/messages.py",
        "if attempts >= facts.limits.message_attempts:",
        "if attempts >= 1:",
        PAIR,
    ),
    Mutant(
        "requests are taken last in, first out",
        "engine/mailbox.py",
        "self.waiting.append(item)",
        "self.waiting.appendleft(item)",
        REQUESTS,
    ),
    Mutant(
        "an alarm that is set while the store is read is lost",
        "engine/agenda.py",
        "            self._added_since.append((address, due_ms))",
        "            pass",
        f"{AGENDA}::test_after_a_round_nothing_due_is_left",
    ),
    Mutant(
        "an alarm wakes nobody",
        "engine/agenda.py",
        "self.next_ms = min(self.next_ms, due_ms)",
        "self.next_ms = max(self.next_ms, due_ms)",
        f"{AGENDA}::test_after_a_round_nothing_due_is_left",
    ),
)
