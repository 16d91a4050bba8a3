"""The limits whose edges are the subject of a test elsewhere: its name, below the root of the repository."""

from __future__ import annotations

from typing import Final

GUARD: Final = "tests/server/test_guard.py"
HOSTILE: Final = "tests/server/test_hostile_clients.py"
CONNECTION: Final = "tests/server/test_guarded_connection.py"
ATTRIBUTES: Final = "tests/values/test_attributes.py"
ATTRIBUTES_OF_A_JOB: Final = "test_a_definition_takes_so_many_attributes_and_no_more"
ENSURING: Final = "tests/behaviour/test_ensuring.py"
CLOSED: Final = f"{CONNECTION}::test_a_connection_is_closed_at_its_timeout_and_not_before"

NAMED: Final = "tests/behaviour/test_named_limits.py"
STREAMS: Final = "tests/behaviour/test_streams.py"
HEARTBEATS: Final = "tests/behaviour/test_heartbeats.py"
KINDS: Final = ("Continuous", "Debounce", "Task", "WorkerPool", "Workflow")
LARGE: Final = "tests/workflow/test_large_outcomes.py"
INPUTS: Final = "tests/workflow/test_large_inputs.py"
BLOCKING: Final = "tests/behaviour/test_blocking_code.py"

ENGINE: Final = {
    "blocked_loop": ("tests/runtime/test_blocked_loop.py::test_code_is_found_when_it_has_held_the_loop_for_the_limit"),
    "threads": f"{BLOCKING}::test_so_many_threads_work_at_a_time_and_no_more",
    "processes": f"{BLOCKING}::test_so_many_processes_work_at_a_time_and_no_more",
    "input_bytes": f"{INPUTS}::test_an_input_has_at_most_input_bytes_and_a_larger_one_leaves_no_trace",
    "outcome_bytes": f"{LARGE}::test_an_outcome_has_at_most_outcome_bytes_and_nothing_repeats_a_larger_one",
}
"""Of the engine: limits that only real threads reach, and two beside the parts that they limit."""

HTTP: Final = {
    "body_bytes": f"{GUARD}::test_a_body_is_limited_as_announced_and_as_received",
    "bodies_bytes": f"{GUARD}::test_all_bodies_together_are_limited",
    "client_bodies_bytes": f"{HOSTILE}::test_the_bodies_of_one_client_are_limited",
    "sign_ins": f"{HOSTILE}::test_forms_to_sign_in_are_limited",
    "client_requests": f"{HOSTILE}::test_the_requests_of_one_client_are_limited",
    "batch_lines": f"{GUARD}::test_url_headers_and_lines_are_limited",
    "lines_at_once": f"{HOSTILE}::test_the_requests_of_batches_in_progress_are_limited",
    "client_lines": f"{HOSTILE}::test_the_requests_of_batches_in_progress_are_limited",
    "reads_at_once": f"{HOSTILE}::test_one_list_or_read_more_than_the_limit_waits_for_the_end_of_another",
    "answers_bytes": f"{HOSTILE}::test_no_read_begins_while_too_many_answers_are_unread",
    "client_answers_bytes": f"{HOSTILE}::test_no_read_begins_while_too_many_answers_are_unread",
    "url_bytes": f"{GUARD}::test_url_headers_and_lines_are_limited",
    "header_bytes": f"{GUARD}::test_url_headers_and_lines_are_limited",
    "requests_per_second": f"{GUARD}::test_a_client_that_sends_too_much_waits_and_another_does_not",
    "burst": f"{GUARD}::test_a_client_that_sends_too_much_waits_and_another_does_not",
    "lists_at_once": f"{HOSTILE}::test_one_list_or_read_more_than_the_limit_waits_for_the_end_of_another",
    "lists_waiting": f"{HOSTILE}::test_the_lists_of_all_clients_that_wait_are_limited",
    "client_lists_waiting": f"{HOSTILE}::test_the_lists_of_one_client_that_wait_are_limited",
    "waits": f"{HOSTILE}::test_the_waits_of_one_client_and_of_all_are_limited",
    "client_waits": f"{HOSTILE}::test_the_waits_of_one_client_and_of_all_are_limited",
    "live_pages": "tests/dashboard/test_stream.py::test_one_stream_more_than_the_limit_says_so_and_ends",
    "client_live_pages": "tests/dashboard/test_stream.py::test_one_stream_more_than_the_limit_says_so_and_ends",
    "connections": f"{CONNECTION}::test_a_new_connection_replaces_the_one_that_waited_longest",
    "probe_connections": f"{HOSTILE}::test_idle_connections_of_probes_are_replaced",
    "header_timeout": CLOSED,
    "body_timeout": CLOSED,
    "idle_timeout": CLOSED,
    "write_timeout": CLOSED,
    "write_buffer_bytes": f"{CONNECTION}::test_a_client_that_does_not_read_holds_one_part_and_is_disconnected",
    "unread_bytes": f"{CONNECTION}::test_unread_responses_together_are_limited",
}
"""Of the server."""

FIXED_ELSEWHERE: Final = {
    "instants of one `backfill`": "tests/kinds/test_schedules.py::test_a_backfill_is_bounded_and_keyed",
    "subscribers and waiting events of a topic": "tests/kinds/test_topics.py::test_a_topic_has_a_limit_of_subscribers",
    "a page of a topic's subscribers": "tests/kinds/test_topics.py::test_subscribers_are_read_by_pages",
    "ranges of fired instants that a schedule keeps": (
        "tests/kinds/test_schedules.py::test_the_instants_that_fired_are_a_few_ranges"
    ),
    "missed ticks: counted, and caught up": (
        "property_tests/values/test_schedule_laws.py::test_missed_ticks_are_counted_up_to_a_bound"
    ),
    "commits that share one transaction": (
        "tests/behaviour/test_shared_flights.py::test_each_group_takes_the_time_from_its_own_first_request"
    ),
    "wait of a commit for another program's transaction on the SQLite file": (
        "tests/stores/test_sqlite_locked.py::test_a_commit_waits_five_seconds_for_another_program"
    ),
    "conflicts before any effect, after which a turn fails": (
        "tests/behaviour/test_common_turns.py::test_a_conflict_before_any_effect_begins_the_turn_again"
    ),
    "instances that an app declares": f"{ENSURING}::test_declarations_are_limited",
    "declared instances that a start creates at the same time": f"{ENSURING}::test_a_start_creates_some_at_a_time",
    "longest wait of a start for declared instances": f"{ENSURING}::test_a_start_does_not_wait_long_for_a_slot",
    "attributes of a definition, and characters of a name": f"{ATTRIBUTES}::{ATTRIBUTES_OF_A_JOB}",
    "calls of one `together`": "tests/behaviour/test_calls.py::test_a_thousand_calls_are_made_together_and_no_more",
    "values that a workflow publishes, bytes of each, and workflows that wait for one": (
        "tests/workflow/test_workflow_published.py::test_values_have_a_size_and_a_number_and_are_declared"
    ),
    "replies of a task": "tests/kinds/test_task_replies.py::test_declarations_and_arguments_are_checked",
    "streams of a definition, and bytes of a chunk": f"{STREAMS}::test_a_wrong_declaration_is_refused",
    "chunks and bytes that a stream keeps": (
        f"{STREAMS}::test_a_stream_keeps_its_newest_chunks_and_says_how_many_it_dropped"
    ),
    "callers that read streams of an engine": (
        f"{STREAMS}::test_readers_are_bounded_and_an_engine_that_stops_answers_them"
    ),
    "conditions of one filter": f"{ATTRIBUTES}::test_a_filter_takes_so_many_conditions_and_no_more",
    "an attribute that is text": f"{ATTRIBUTES}::test_the_longest_text_is_kept_and_a_longer_one_fails_alone",
}
"""Those that no option changes, as the page of limits names them."""

FIXED_RANGES: Final = {
    "a job's name, an instance's id": ("Task.name", "handle.id"),
    "a duration": ("every.interval", "Task.run_timeout"),
    "attempts of a run": ("Retry.max_attempts",),
    "events that a job keeps longer than the log": ("KeepHistory.events",),
    "`max_events` of a debounce": ("Debounce.max_events",),
    "missed ticks: counted, and caught up": ("every.catch_up_limit", "cron.catch_up_limit"),
    "a page of `list`, `history`, `dead_letters`": (
        "Client.list limit",
        "Client.history limit",
        "Client.dead_letters limit",
    ),
}
"""Those of which the values are ranges of this table."""

OPTIONS_ELSEWHERE: Final = {
    **{
        f"{owner}.{option}": "tests/workflow/test_workflow_forks.py::test_wrong_arguments_of_many_forks_are_named"
        for owner, option in (("WorkflowHandle", "suffix"), ("JobByName", "suffix"), ("JobByName", "limit"))
    },
    "CapacityOptions.engines": "tests/rehearsal/test_capacity.py::test_numbers_out_of_their_ranges_are_refused",
    "HistoryDebugger.most": "tests/rehearsal/test_history_debugging.py::test_more_steps_than_the_limit_are_refused",
    "read_histories.each": "tests/rehearsal/test_histories.py::test_limits_at_their_edges",
    "read_histories.steps": "tests/rehearsal/test_histories.py::test_limits_at_their_edges",
    **{
        f"{kind}.attributes": f"{ATTRIBUTES}::{ATTRIBUTES_OF_A_JOB}"
        for kind in ("Continuous", "Debounce", "Task", "WorkerPool", "Workflow")
    },
    "FutureQuestion.lasting": "tests/rehearsal/test_future.py::test_the_limits_of_a_question",
    "Client.concurrency": "tests/behaviour/test_named_limits.py::test_a_change_that_cannot_work_is_refused",
    "Published.value": (
        "tests/workflow/test_workflow_published.py::test_values_have_a_size_and_a_number_and_are_declared"
    ),
    "Task.replies": "tests/kinds/test_task_replies.py::test_declarations_and_arguments_are_checked",
    "Workflow.publishes": (
        "tests/workflow/test_workflow_published.py::test_values_have_a_size_and_a_number_and_are_declared"
    ),
    **dict.fromkeys(
        ("Stream.max_chunks", "Stream.max_bytes", "Stream.name", *(f"{kind}.streams" for kind in KINDS)),
        f"{STREAMS}::test_a_wrong_declaration_is_refused",
    ),
    "Stream.value": f"{STREAMS}::test_a_chunk_that_no_row_can_hold_is_dropped_and_no_paid_call_is_lost",
    **dict.fromkeys(
        ("Heartbeat.name", *(f"{kind}.heartbeats" for kind in KINDS)),
        f"{HEARTBEATS}::test_heartbeats_that_cannot_be_declared",
    ),
    "Heartbeat.value": f"{HEARTBEATS}::test_a_value_that_no_row_can_hold_is_dropped_for_the_next_attempt",
    "Limit.name": f"{NAMED}::test_a_limit_that_cannot_work_is_refused_with_the_remedy",
    "Limit.concurrency": f"{NAMED}::test_a_limit_that_cannot_work_is_refused_with_the_remedy",
    "by.key": f"{NAMED}::test_the_longest_key_counts_and_a_longer_one_is_the_empty_one",
    "by.weight": f"{NAMED}::test_a_limit_that_cannot_work_is_refused_with_the_remedy",
    "effect.name": "tests/program/test_do_and_effects.py::test_a_pinned_name_is_a_short_text",
    "attribute.name": f"{ATTRIBUTES}::test_names_that_a_condition_cannot_have_are_refused",
    "BatchHandle.chunk": "tests/kinds/test_batches.py::test_limits_of_a_batch",
    "TopicHandle.limit": "tests/kinds/test_topics.py::test_subscribers_are_read_by_pages",
    "PoolHandle.chunk": "tests/kinds/test_many_items.py::test_a_chunk_has_a_limit",
    "WorkerPool.key": "tests/kinds/test_worker_pool.py::test_a_key_must_be_a_short_text",
    "serving.binds": "tests/server/test_listening.py::test_addresses_are_bounded",
    "listening.binds": "tests/server/test_listening.py::test_addresses_are_bounded",
}
"""Ranges of parameters that need more than a value."""

SAME: Final = {
    "Client.limit": "Client.list limit",
    "Query.limit": "Client.list limit",
    "connect_sync.max_connections": "connect.max_connections",
}
"""Parameters that a row of another name reaches."""

NO_LIMITS: Final = {
    "JobCount.oldest": "the lanes that it compares; no request is refused",
    "PoolProgress.oldest": "as above",
    "Health.unserved_messages": "a count that says at least so many",
    "UpcastFailed.upcast": "the numbers are those of versions",
    "prometheus.registry": "an age of readings",
}
"""Numbers in the reference that bound nothing that a caller passes, and why."""
