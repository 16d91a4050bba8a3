"""The limits in the sentences of the users' pages: the test that reaches each one's edge, or why there is none."""

from __future__ import annotations

from typing import Final

ROW: Final = "row: "
"""Before the name of a row of the tables of options."""

TIME: Final = "a time that the library waits, and no limit of a caller"
CACHE: Final = (
    "property_tests/engine/test_resident_laws.py::test_a_row_is_the_one_kept_last_and_the_bound_holds_at_rest"
)
PUBLISHED: Final = "tests/workflow/test_workflow_published.py::test_values_have_a_size_and_a_number_and_are_declared"
MEASURED: Final = "a measured number"

SENTENCES: Final = {
    "reference/events.md: up to 16,384": "tests/behaviour/test_accepted_in_events.py::test_a_long_input_is_left_out",
    "explanation/many-engines.md: up to 50": TIME,
    "explanation/sqlite.md: up to 64": CACHE,
    "explanation/what-it-costs.md: at most 13": MEASURED,
    "guarantees.md: at most 10": "tests/behaviour/test_ensuring.py::test_a_start_does_not_wait_long_for_a_slot",
    "guarantees.md: at most 64": "tests/workflow/test_workflow_forks.py::test_the_limits_of_a_fork_at_their_edges",
    "guarantees.md: at most 20": (
        "tests/workflow/test_workflow_parked_children.py::test_a_parent_names_twenty_parked_children_and_records_all"
    ),
    "how-to/ask-a-workflow.md: 1 to 512": f"{ROW}Signal.key",
    "how-to/ask-a-workflow.md: at most 20": PUBLISHED,
    "how-to/ask-a-workflow.md: at most 4,000": PUBLISHED,
    "how-to/call-jobs-from-django-and-flask.md: at most 10": TIME,
    "how-to/call-jobs-from-fastapi.md: at most 10": TIME,
    "how-to/debug-a-journal.md: at most 10,000": (
        "tests/rehearsal/test_history_debugging.py::test_more_steps_than_the_limit_are_refused"
    ),
    "how-to/deploy-on-kubernetes.md: up to 100": "a sum of shares",
    "how-to/find-instances-and-their-history.md: up to 16": (
        "tests/values/test_attributes.py::test_a_definition_takes_so_many_attributes_and_no_more"
    ),
    "how-to/find-instances-and-their-history.md: up to 256": (
        "tests/values/test_attributes.py::test_the_longest_text_is_kept_and_a_longer_one_fails_alone"
    ),
    "how-to/find-instances-and-their-history.md: up to 1,000,000": "the default of `Limits.history_events`",
    "how-to/handle-dead-letters.md: up to 1,000": f"{ROW}Client.left_messages limit",
    "how-to/plan-capacity.md: up to 100,000": (
        "tests/rehearsal/test_capacity.py"
        "::test_a_short_history_that_would_be_repeated_for_long_is_refused_before_anything_runs"
    ),
    "how-to/publish-to-a-topic.md: up to 1,000": f"{ROW}Topic.max_subscribers",
    "how-to/publish-to-a-topic.md: at most 10,000": f"{ROW}Topic.max_subscribers",
    "how-to/publish-to-a-topic.md: up to 100": f"{ROW}Topic.max_waiting",
    "how-to/run-a-worker.md: up to 64": CACHE,
    "how-to/run-on-restate.md: at most 1,000": (
        "tests/integrations/test_restate.py::test_the_message_after_a_thousand_is_sent_again_later"
    ),
    "how-to/scale-with-the-demand.md: at most 10,000": "a count, and nothing is refused",
    "how-to/set-limits.md: at most 200": ("tests/kinds/test_worker_pool.py::test_a_key_must_be_a_short_text"),
    "how-to/store-in-postgresql.md: up to 15": TIME,
    "how-to/use-idempotency-keys.md: 1 to 512": f"{ROW}handle.idempotency_key",
    "how-to/use-the-dashboard.md: at most 12": (
        "tests/dashboard/test_session.py::test_a_cookie_names_its_token_until_it_expires"
    ),
    "how-to/use-the-dashboard.md: up to 100": (
        "tests/dashboard/test_pages.py::test_an_action_is_for_one_to_a_hundred_instances"
    ),
    "reference/behaviour.md: 1 to 512": f"{ROW}handle.id",
    "reference/http.md: up to 16": (
        "tests/values/test_attributes.py::test_a_filter_takes_so_many_conditions_and_no_more"
    ),
    "reference/command-line.md: at most 100,000": (
        "tests/cli/test_paging.py::test_a_command_changes_a_hundred_thousand_instances_at_most"
    ),
    "reference/conformance.md: at most 500": "the effort of a search: nothing is refused",
    "reference/errors.md: 1 to 512": f"{ROW}handle.id",
    "reference/events.md: at most 20": (
        "tests/behaviour/test_origin_of_events.py::test_a_run_names_the_receivers_of_its_messages_once_each"
    ),
    "reference/http.md: 1 to 100": (
        "tests/workflow/test_workflow_forks.py::test_wrong_arguments_of_many_forks_are_named"
    ),
    "reference/http.md: 1 to 1,000": f"{ROW}Client.list limit",
    "reference/http.md: 1 to 512": f"{ROW}handle.idempotency_key",
    "reference/http.md: at most 20": f"{ROW}Client.until phases",
    "reference/integrations.md: at most 1,000": "the rest is sent by the next call: nothing is refused",
    "reference/perdure.md: at most 500": (
        "tests/remote/test_connections.py::test_at_most_500_calls_of_a_moment_travel_together_and_half_a_mebibyte"
    ),
    "reference/perdure.md: up to 250": TIME,
    "reference/prometheus.md: up to 10000": (
        "tests/stores/test_sqlite_counts.py::test_messages_and_dead_letters_are_counted_up_to_ten_thousand"
    ),
    "reference/schedules.md: 1 to 1,000": f"{ROW}every.catch_up_limit",
    "reference/schedules.md: at most 100": f"{ROW}every.interval",
    "reference/schedules.md: at most 60": "the meaning of on time",
    "reference/schedules.md: up to 10,000": (
        "property_tests/values/test_schedule_laws.py::test_missed_ticks_are_counted_up_to_a_bound"
    ),
    "reference/server-limits.md: 1 to 100": f"{ROW}Tokens.tokens",
    "reference/server-limits.md: 1 to 64": f"{ROW}ClientToken.name",
    "reference/testing.md: at most 64": "the numbers that a strategy draws",
    "reference/types.md: at most 20": "tests/codecs/test_problems.py::test_at_most_twenty_problems_are_listed",
    "reference/types.md: at most 64": f"{ROW}codec.nesting",
    "reference/worker-pool.md: up to 100": f"{ROW}PoolBatch.failures",
    "reference/calls.md: up to 1,000": (
        "tests/behaviour/test_calls.py::test_a_thousand_calls_are_made_together_and_no_more"
    ),
    "reference/worker-pool.md: at most 1,000": "tests/kinds/test_many_items.py::test_a_chunk_has_a_limit",
    "reference/worker-pool.md: at most 200,000": (
        "property_tests/engine/test_rate_limit.py::test_beyond_its_memory_it_waits"
    ),
    "reference/workflow.md: at most 20": (
        "tests/workflow/test_workflow_parked_children.py::test_a_parent_names_twenty_parked_children_and_records_all"
    ),
    "tutorial/index.md: 1 to 4": "numbers of lessons",
}
"""By page below ``docs`` and words."""
