"""Bugs in schedules that are data."""

from mutant import Mutant

SCHEDULES = "tests/kinds/test_schedules.py"

MUTANTS = (
    Mutant(
        "a backfill fires instants again that have fired",
        "has_fired",
        "return any(",
        "return False and any(",
        f"{SCHEDULES}::test_a_backfill_fires_each_instant_that_has_not_fired",
    ),
    Mutant(
        "a backfill fires the instant that the alarm is to fire",
        "_backfill",
        "if tick_ms < data.next_ms)",
        "if tick_ms <= data.next_ms)",
        f"{SCHEDULES}::test_a_backfill_fires_each_instant_that_has_not_fired",
    ),
    Mutant(
        "another schedule drops the instant that was due",
        "_put",
        "if instance.suspension is None and instance.left is None and",
        "if instance.suspension is not None and",
        f"{SCHEDULES}::test_an_instant_that_was_due_fires_with_the_change",
    ),
    Mutant(
        "a change of the message moves the instants",
        "_put",
        "if instants_of(before.schedule) == instants_of(message.schedule):",
        "if before == message:",
        f"{SCHEDULES}::test_a_change_of_the_message_keeps_the_instants",
    ),
    Mutant(
        "a schedule sends a message that its target cannot read",
        "check_message",
        "    definition.parse(message.action, payload)\n",
        "",
        f"{SCHEDULES}::test_a_message_that_a_deploy_cannot_read_waits_for_code_that_can",
    ),
    Mutant(
        "code with another event type of the target does not take up a schedule",
        "Schedules.__init__",
        "kept=(entry.DATA, *(codec for codec in inputs if codec is not None)),",
        "kept=(entry.DATA,),",
        f"{SCHEDULES}::test_a_message_that_a_deploy_cannot_read_waits_for_code_that_can",
    ),
    Mutant(
        "neighbouring instants stay ranges of their own",
        "_is_next",
        ">= each.first_ms",
        "> each.first_ms",
        f"{SCHEDULES}::test_neighbouring_instants_are_one_range",
    ),
    Mutant(
        "a paused schedule that skips missed instants owes no firing",
        "_Firing._next",
        "owes = data.owed_ms == data.next_ms and",
        "owes = data.owed_ms is None and",
        f"{SCHEDULES}::test_a_paused_schedule_stays_paused_and_owes_one_firing",
    ),
)
