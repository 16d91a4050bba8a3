"""Bugs in the helpers of the engine and of the stores: races inside one step, second times, classes of errors."""

from mutant import Mutant

ERRORS = "tests/stores/test_postgres_errors.py"
SESSIONS = f"{ERRORS}::test_an_error_that_ends_the_session_says_nothing_about_its_commit"

MUTANTS = (
    Mutant(
        "a statement that an operator cancelled may have been written",
        "stores/postgres/failures.py",
        "return state != QUERY_CANCELED and (",
        "return (",
        SESSIONS,
    ),
    Mutant(
        "a server that ends with an error has refused the statement",
        "stores/postgres/failures.py",
        "    if ends_the_session(error):\n        return True\n",
        "",
        SESSIONS,
    ),
    Mutant(
        "engines whose leases have both ended declare each other dead",
        "stores/postgres/migrations/0007_renew_first.sql",
        "BEGIN\n  UPDATE",
        "BEGIN\n  PERFORM perdure.declare_dead(epoch) FROM perdure.engines\n    WHERE state = 'open' AND lease_until < "
        "clock_timestamp() AND epoch <> my_epoch ORDER BY epoch;\n  UPDATE",
        "tests/stores/test_postgres_engines.py::test_engines_whose_leases_have_both_ended_do_not_wait_for_each_other",
    ),
    Mutant(
        "a resumed target receives the message of one sender",
        "engine/outbox.py",
        "for held in self._held.pop(target):",
        "for held in self._held.pop(target)[-1:]:",
        "tests/behaviour/test_messages.py::test_a_resumed_target_receives_the_messages_of_every_sender_at_once[memory]",
    ),
)
