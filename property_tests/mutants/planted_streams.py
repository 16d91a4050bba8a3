"""Bugs in streams and heartbeats: chunks, marks, bounds, readers, and the pages that show them."""

from mutant import Mutant

STREAMS = "tests/behaviour/test_streams.py"
PAGES = "tests/dashboard/test_stream.py"
PANEL = f"{PAGES}::test_the_panel_of_a_stream_shows_chunks_in_order_and_those_that_a_mark_replaces"
BEATS = "tests/behaviour/test_heartbeats.py"
REMOTE = "tests/remote/test_streams.py::test_a_remote_client_and_a_browser_follow_a_stream_and_continue_after_an_offset"
FLOOD = f"{STREAMS}::test_chunks_that_a_stream_would_drop_are_not_even_stored_and_count_all_the_same"
KEPT = f"{STREAMS}::test_a_stream_keeps_its_newest_chunks_and_says_how_many_it_dropped"
SLOW = f"{STREAMS}::test_a_slow_read_of_the_instance_ends_no_reader_early_and_lets_none_wait"
STORES = "tests/stores/test_conformance.py::test_the_store_keeps"
WEB = "tests/integrations/test_web.py"

MUTANTS = (
    Mutant(
        "a step that begins again has no mark",
        "RunEmitter._is_marked",
        'if self.step.form == "first" or (',
        "if True or (",
        f"{STREAMS}::test_a_crash_inside_an_effect_is_a_mark_before_its_step_and_no_other",
    ),
    Mutant(
        "each group of a repeated step has a mark",
        "RunEmitter._is_marked",
        "draft.emitted = {key} if draft.emitted is None else draft.emitted | {key}",
        "pass",
        f"{STREAMS}::test_a_step_that_raised_begins_again_behind_a_mark",
    ),
    Mutant(
        "a mark has no offset",
        "RunEmitter._group",
        "count=len(values) + int(again)",
        "count=len(values)",
        f"{STREAMS}::test_a_crash_inside_an_effect_is_a_mark_before_its_step_and_no_other",
    ),
    Mutant(
        "the outcome of an effect is known before its last chunks are stored",
        "_performed",
        "    await emitter.close(settled)\n    return settled",
        "    return settled",
        f"{STREAMS}::test_a_reader_sees_the_chunks_of_programs_and_effects_in_order_until_the_end",
    ),
    Mutant(
        "a run continues although its chunk was not stored",
        "RunEmitter._answered",
        "self._lost = RunLost(answer.failure())",
        "pass",
        f"{STREAMS}::test_a_chunk_that_could_not_be_stored_ends_the_run_which_begins_again",
    ),
    Mutant(
        "an effect queues more chunks than its stream keeps",
        "RunEmitter._take",
        "if len(waiting) > stored.max_chunks:",
        "if False:",
        FLOOD,
    ),
    Mutant(
        "chunks that were dropped before they were stored have no offsets",
        "RunEmitter._group",
        "skipped=self._skipped.pop(stored, 0)",
        "skipped=0",
        FLOOD,
    ),
    Mutant(
        "an effect emits to a stream of another job",
        "RunEmitter.emit",
        "if self.declared.streams.get(stream.name) is not stream:",
        "if stream.name not in self.declared.streams:",
        f"{STREAMS}::test_an_effect_cannot_emit_to_a_stream_that_its_job_does_not_declare",
    ),
    Mutant(
        "a group of an earlier attempt is appended",
        "StreamGroup.is_of",
        "            and claim.attempt == self.attempt\n",
        "",
        f"{STORES}[only_the_delivery_with_the_claim_appends-MemoryHarness]",
    ),
    Mutant(
        "a group of a delivery that died is appended",
        "StreamGroup.is_of",
        "            and claim.deliveries == self.deliveries\n",
        "",
        f"{STORES}[only_the_delivery_with_the_claim_appends-SqliteHarness]",
    ),
    Mutant(
        "a reader counts one dropped chunk too many",
        "items_of",
        "count=group.first - after - 1",
        "count=group.first - after",
        KEPT,
    ),
    Mutant(
        "a reader sees chunks again that come before its offset",
        "items_of",
        "found += (item for item in _items(group, what) if item.offset > after)",
        "found += _items(group, what)",
        FLOOD,
    ),
    Mutant(
        "a read of the instance that is old ends a reader",
        "FollowedStream.overtakes",
        "return commits != self.commits or (",
        "return False and (",
        SLOW,
    ),
    Mutant(
        "a reader that waits does not learn of the end",
        "StreamHub._show",
        "if before != (channel.state, channel.incarnation):",
        "if False:",
        f"{STREAMS}::test_a_terminated_instance_ends_its_readers_and_a_next_one_begins_at_0",
    ),
    Mutant(
        "one reader more than the limit",
        "StreamHub.page",
        "if self.count >= self.limit:",
        "if self.count > self.limit:",
        f"{STREAMS}::test_readers_are_bounded_and_an_engine_that_stops_answers_them",
    ),
    Mutant(
        "an engine that stops leaves its readers waiting",
        "StreamHub.close",
        "            self._drop(channel)\n            self._wake(channel)",
        "            self._drop(channel)",
        f"{STREAMS}::test_readers_are_bounded_and_an_engine_that_stops_answers_them",
    ),
    Mutant(
        "a browser that has all chunks of an ended stream asks again for ever",
        "_follow",
        'if first.unwrap().state == "end":\n        return Response(status_code=204)',
        "pass",
        REMOTE,
    ),
    Mutant(
        "a browser begins from the first chunk after each lost connection",
        "_after",
        'asked.request.headers.get("last-event-id") or ',
        "",
        REMOTE,
    ),
    Mutant(
        "a browser does not try again after an error of the engine",
        "follow",
        "and isinstance(first.failure(), InvalidArgument | UnknownJob)",
        "",
        f"{WEB}::test_a_browser_tries_again_if_the_engine_is_not_reachable",
    ),
    Mutant(
        "a mark of a run without steps replaces nothing on the dashboard",
        "_Passage.replaced_by",
        'mark.step in {"", self.step}',
        "mark.step == self.step",
        PANEL,
    ),
    Mutant(
        "a mark replaces the chunks behind it",
        "stream_panel",
        "for each in reversed(passages):",
        "for each in passages:",
        PANEL,
    ),
    Mutant(
        "fake services answer an emission",
        "RunObserver.perform",
        "if is_emission(instruction):",
        "if False:",
        f"{STREAMS}::test_fake_services_emit_the_chunks_of_the_program",
    ),
    Mutant(
        "an attempt does not receive the value that the last one has stored",
        "RunEmitter.recall",
        "self._previous[heartbeat.name] = value",
        "pass",
        f"{BEATS}::test_an_attempt_after_a_failure_receives_the_very_newest_value",
    ),
    Mutant(
        "a workflow that starts over continues where it was before",
        "RunEmitter._newest",
        'item.form == "chunk" and item.step == run_id',
        'item.form == "chunk"',
        f"{BEATS}::test_a_workflow_that_starts_over_begins_at_the_beginning",
    ),
    Mutant(
        "the steps of a workflow share their heartbeats",
        "RunEmitter._stored",
        'name = f"{heartbeat.name}:{self.beats_as}"',
        'name = f"{heartbeat.name}:"',
        f"{BEATS}::test_steps_beside_each_other_have_values_of_their_own",
    ),
    Mutant(
        "the effects inside a step share their heartbeats",
        "Draft.nth",
        'return f"{step.name} {effect} {number}"',
        "return step.name",
        f"{BEATS}::test_effects_inside_one_step_have_values_of_their_own",
    ),
    Mutant(
        "effects that nothing tells apart share their heartbeats",
        "RunEmitter.beat",
        'if self.step.effect != "unknown":',
        "if True:",
        f"{BEATS}::test_where_nothing_tells_the_step_nothing_is_stored",
    ),
    Mutant(
        "a beat does not restart the time limit",
        "RunEmitter.beat",
        "self.execute.draft.lives()",
        "pass",
        f"{BEATS}::test_a_beat_lets_the_time_limit_begin_again",
    ),
    Mutant(
        "each beat is stored",
        "RunEmitter._groups",
        "self._due_ms[stored] = now_ms + stored.every_ms",
        "self._due_ms[stored] = now_ms",
        f"{BEATS}::test_the_newest_value_is_stored_once_in_every_and_not_again_after_a_success",
    ),
    Mutant(
        "the newest value of an effect that fails is not stored",
        "RunEmitter.close",
        'if isinstance(outcome, Success) and self.step.effect == "whole":',
        "if True:",
        f"{BEATS}::test_an_attempt_after_a_failure_receives_the_very_newest_value",
    ),
)
