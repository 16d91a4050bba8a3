"""Bugs in topics."""

from mutant import Mutant

TOPICS = "tests/kinds/test_topics.py"

MUTANTS = (
    Mutant(
        "a subscriber that has ended begins again for an event",
        "_Sent._message",
        'if delivery.of == "existing":',
        "if not action:",
        f"{TOPICS}::test_a_subscriber_that_is_gone_is_removed_and_not_created_again[memory]",
    ),
    Mutant(
        "a workflow that has ended stays subscribed",
        "rejection",
        "if isinstance(error, SignalRefused) else ()",
        "if isinstance(error, int) else ()",
        f"{TOPICS}::test_a_subscriber_that_is_gone_is_removed_and_not_created_again[memory]",
    ),
    Mutant(
        "a late notice ends a subscription that was made again",
        "_unsubscribe",
        'if known is None or command.renewed not in (None, known["renewed"]):',
        "if known is None:",
        f"{TOPICS}::test_a_late_notice_ends_no_subscription_that_was_made_again",
    ),
    Mutant(
        "an event is sent before those that wait",
        "_publish",
        "waiting=(*data.waiting, event)",
        "waiting=(event, *data.waiting)",
        f"{TOPICS}::test_events_of_a_paused_topic_wait_up_to_a_limit[pause]",
    ),
    Mutant(
        "a paused topic sends its events",
        "_publish",
        'if instance.suspension is None and inputs.hold == "released":',
        'if inputs.hold == "released":',
        f"{TOPICS}::test_events_of_a_paused_topic_wait_up_to_a_limit[pause]",
    ),
    Mutant(
        "each commit of an event sends it to the last subscriber again",
        "_Sent.send",
        'if data.sent < one["since"] <= event.last]',
        'if data.sent <= one["since"] <= event.last]',
        f"{TOPICS}::test_a_commit_holds_as_many_messages_as_a_turn_may_send",
    ),
    Mutant(
        "an event that waits is sent to later subscribers",
        "_Sent.send",
        'if data.sent < one["since"] <= event.last]',
        'if data.sent < one["since"]]',
        f"{TOPICS}::test_an_event_that_waits_is_sent_to_its_subscribers_alone",
    ),
    Mutant(
        "a subscription that is made again forgets the events that wait",
        "_subscribe",
        'since = number if known is None else known["since"]',
        "since = number",
        f"{TOPICS}::test_an_event_that_waits_is_sent_to_its_subscribers_alone",
    ),
    Mutant(
        "a workflow subscribes with each wait",
        "StateOperations._is_first",
        "        self.marks.add(mark)\n",
        "",
        f"{TOPICS}::test_a_workflow_subscribes_once_and_drops_events_that_do_not_match",
    ),
)
