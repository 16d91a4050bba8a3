"""Bugs in calls that start and wait, and in the answers of workflows."""

from mutant import Mutant

SIGNALS = "tests/workflow/test_workflow_signals.py"
UPDATES = "tests/workflow/test_workflow_updates.py"
QUERIES = "tests/workflow/test_workflow_queries.py"
ASKS = "tests/workflow/test_workflow_asks.py"
PUBLISHED = "tests/workflow/test_workflow_published.py"
WAIT = "tests/behaviour/test_call_and_wait.py"

PROMISE = "tests/workflow/test_workflow_published.py::test_a_promise"

MUTANTS = (
    Mutant(
        "a second completion replaces the outcome of a promise",
        "_settle",
        "if instance is not None and found is not None:",
        "if instance is not None and found is not None and header is None:",
        f"{PROMISE}_has_the_first_outcome_for_all_that_wait[memory://]",
    ),
    Mutant(
        "another workflow does not learn that a promise is settled",
        "_settle",
        "messages=news, ",
        "",
        f"{PROMISE}_has_the_first_outcome_for_all_that_wait[memory://]",
    ),
    Mutant(
        "the outcome of a promise waits for the end of a step",
        "Replay._settle",
        "if (found := self.timers.settled(self.header)) is not None:",
        "if (found := None if self.in_progress else self.timers.settled(self.header)) is not None:",
        f"{PROMISE}_that_is_settled_during_a_step_is_received_beside_it",
    ),
    Mutant(
        "a fork forgets the outcomes of promises",
        "prefix_of",
        'or (each.name in promises and (is_kept or f"{PROMISE}{each.name}" in names))',
        "",
        "tests/workflow/test_workflow_published.py"
        "::test_a_fork_has_the_outcomes_that_its_steps_have_seen_and_those_that_wait[keep]",
    ),
    Mutant(
        "a call whose wait is over reports the end of the work",
        "JobHandle._sent_and_over",
        "                return Failure(WaitOver(str(self.definition.address(id_)), wanted, status))",
        "                return Success(Reached(status))",
        f"{WAIT}::test_a_task_is_awaited_until_it_rests",
    ),
    Mutant(
        "a call that waits for an item waits on when that is parked",
        "WorkerPool",
        'end_statuses: ClassVar[tuple[AwaitedStatus, ...]] = ("ended", "parked")',
        'end_statuses: ClassVar[tuple[AwaitedStatus, ...]] = ("ended",)',
        f"{WAIT}::test_an_item_is_put_and_its_outcome_is_returned",
    ),
    Mutant(
        "an end without an outcome looks like an outcome",
        "JobHandle._outcome_after",
        "Failure(NoOutcome(str(self.definition.address(id_)))) if found is None else Success(found)",
        "Success(found)",
        f"{WAIT}::test_a_workflow_that_ends_without_an_outcome_is_a_typed_error",
    ),
    Mutant(
        "an event without a key is sent again by a repeat of the wait",
        "check_repeatable",
        'spec.repeat == "applies_again"',
        'spec.repeat == "reads"',
        f"{WAIT}::test_wrong_arguments_are_refused_and_nothing_is_started",
    ),
    Mutant(
        "a client of another process waits for one request alone",
        "RemoteJob._call_and_wait",
        'answer.unwrap().form == "reached" or left_ms <= wait_ms',
        "left_ms > 0",
        f"{WAIT}::test_a_client_of_another_process_starts_and_waits_over_several_requests",
    ),
    Mutant(
        "a failed workflow looks like success to a script",
        "_request_and_wait",
        'end.outcome.form != "done"',
        'end.outcome.form == ""',
        "tests/cli/test_outcomes.py::test_a_command_waits_for_the_end_of_its_work",
    ),
    Mutant(
        "the next workflow of an ended one keeps the old journal",
        "signal_with_start",
        '"kept" if instance is None else "cut"',
        '"kept"',
        f"{SIGNALS}::test_a_signal_starts_the_next_workflow_of_an_ended_one_if_it_may[memory://]",
    ),
    Mutant(
        "a signal that starts is stored without being counted",
        "signal_with_start",
        "started_ms=inputs.now_ms, signals=number, waiting=1)",
        "started_ms=inputs.now_ms)",
        f"{SIGNALS}::test_a_signal_starts_an_absent_workflow_in_one_commit[memory://]",
    ),
    Mutant(
        "an ended workflow is started again although the caller did not ask for it",
        "_signal_with_start",
        '(ended and command.start.if_ended == "start")',
        "ended",
        f"{SIGNALS}::test_a_signal_starts_the_next_workflow_of_an_ended_one_if_it_may[memory://]",
    ),
    Mutant(
        "an update that was answered stays without a reply",
        "advanced",
        "tuple(each for each in header.unanswered if each not in progress.replied)",
        "header.unanswered",
        f"{UPDATES}::test_an_update_is_answered_by_the_program_with_a_reply_or_a_typed_error[memory://]",
    ),
    Mutant(
        "an ended workflow leaves the callers of updates waiting",
        "has_answered",
        " or header.ended is not None",
        "",
        f"{UPDATES}::test_a_workflow_that_ends_without_answering_is_a_typed_error[stopped]",
    ),
    Mutant(
        "a ticket of an earlier instance finds the reply of the next one",
        "LocalGateway._reply_to",
        " or row.incarnation != incarnation",
        "",
        f"{UPDATES}::test_the_next_workflow_of_the_id_does_not_answer_for_the_last_one",
    ),
    Mutant(
        "a workflow that starts over drops its replies",
        "_journal_of_fresh",
        "(*replies, *map(body_of, waiting))",
        "tuple(map(body_of, waiting))",
        f"{UPDATES}::test_replies_and_waiting_updates_outlast_a_workflow_that_starts_over",
    ),
    Mutant(
        "the replay of a workflow that started over reads old replies as steps",
        "_started_over",
        "kept = sum(map(is_reply, journal.bodies))",
        "kept = 0",
        f"{UPDATES}::test_replies_and_waiting_updates_outlast_a_workflow_that_starts_over",
    ),
    Mutant(
        "updates without a reply are not bounded",
        "_update",
        "header.waiting >= job.inbox or len(header.unanswered) >= job.inbox",
        "header.waiting > job.inbox",
        f"{UPDATES}::test_updates_up_to_the_inbox_and_wrong_arguments",
    ),
    Mutant(
        "a published value is not sent to the workflows that wait",
        "with_news",
        "messages=(*progress.messages, *news)",
        "messages=progress.messages",
        f"{PUBLISHED}::test_a_workflow_waits_for_the_value_of_another_one[memory://-watcher]",
    ),
    Mutant(
        "a workflow that ends leaves those that wait for it waiting",
        "_parents",
        "    if header.shared is not None:",
        "    if header.parent is not None and header.shared is not None:",
        f"{PUBLISHED}::test_a_workflow_that_waits_for_nothing_gets_a_typed_error[end-ended]",
    ),
    Mutant(
        "an absent workflow does not answer one that waits",
        "_watch",
        'ChildEnd(call=watch.call, form="absent", value="null") if header is None else answer_to(header, watcher)',
        "None if header is None else answer_to(header, watcher)",
        f"{PUBLISHED}::test_a_workflow_that_waits_for_nothing_gets_a_typed_error[absent-absent]",
    ),
    Mutant(
        "a branch that no longer waits stays in the list of those that wait",
        "leave_calls",
        'each.path, "unwatch")',
        'each.path, "watch")',
        f"{PUBLISHED}::test_a_wait_with_a_time_limit_is_withdrawn",
    ),
    Mutant(
        "a workflow that starts over drops its published values",
        "_started_over",
        "        shared=header.shared,",
        "        shared=None,",
        f"{PUBLISHED}::test_callers_wait_for_a_value_and_late_ones_get_it_immediately[memory://]",
    ),
    Mutant(
        "the second value of a name does not replace the first one",
        "with_published",
        "(*earlier, *names.values())",
        "(*shared.published, *names.values())",
        f"{PUBLISHED}::test_callers_wait_for_a_value_and_late_ones_get_it_immediately[memory://]",
    ),
    Mutant(
        "the reply to an update of another workflow is not sent",
        "with_news",
        "if not (progress.published or progress.replied) or header.shared is None:",
        "if not progress.published or header.shared is None:",
        f"{ASKS}::test_a_workflow_sends_an_update_to_another_one[memory://]",
    ),
    Mutant(
        "a workflow that was answered stays in the list of those that wait",
        "_after_news",
        "if each.wants not in replied",
        "if each.wants",
        f"{ASKS}::test_a_workflow_sends_an_update_to_another_one[memory://]",
    ),
    Mutant(
        "an update that a validator refuses is stored",
        "_refusal",
        "UpdateRefused(str(instance.address), name, found) if found else None",
        "UpdateRefused(str(instance.address), name, found) if found == 'no' else None",
        f"{ASKS}::test_a_validator_refuses_an_update_before_it_is_stored",
    ),
    Mutant(
        "one that waits for the end hears of it as of a value that is missing",
        "_over",
        "if watcher.wants == END else",
        "if watcher.wants == '' else",
        f"{ASKS}::test_a_workflow_waits_for_the_end_of_one_that_it_did_not_start[memory://-close-done 5-before]",
    ),
    Mutant(
        "a workflow that has ended does not say how to one that waits later",
        "_watch",
        "header.ended is not None and watch.wants == END",
        "header.ended is None and watch.wants == END",
        f"{ASKS}::test_a_workflow_waits_for_the_end_of_one_that_it_did_not_start[memory://-close-done 5-after]",
    ),
    Mutant(
        "a query that raises shows the secrets of the state",
        "_of_state",
        "secrets=secrets_of_instance(job, instance)",
        "secrets=frozenset()",
        f"{QUERIES}::test_a_query_that_raises_or_is_wrong_is_a_typed_error_without_secrets",
    ),
)
