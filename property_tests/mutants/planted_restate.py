"""Mutants of jobs on Restate, with killers that need no server."""

from mutant import Mutant

TESTS = "tests/integrations/test_restate.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a later alarm on Restate is armed beside the earlier one",
        "armed",
        "state.armed_ms is not None and state.armed_ms <= due_ms",
        "state.armed_ms is not None and state.armed_ms == due_ms",
        f"{TESTS}::test_one_alarm_is_armed_and_a_later_one_waits_for_it",
    ),
    Mutant(
        "an incarnation on Restate is the clock alone",
        "applied",
        "max(state.incarnation + 1, now_ms)",
        "now_ms",
        f"{TESTS}::test_an_incarnation_is_greater_than_each_before_it_even_if_the_clock_goes_back",
    ),
    Mutant(
        "a message on Restate that is postponed goes behind the later ones of its sender",
        "settled",
        "(*state.held[:place], again, *state.held[place:])",
        "(*state.held, again)",
        f"{TESTS}::test_messages_of_one_sender_wait_in_order_and_others_do_not",
    ),
)
