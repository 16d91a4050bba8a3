"""Bugs in rehearsals, futures of one instance, debuggers, histories for tests, and simulated capacity."""

from mutant import Mutant

REHEARSE = "tests/rehearsal/test_rehearse.py"
FUTURE = "tests/rehearsal/test_future.py"
JOURNAL = "tests/rehearsal/test_debugging.py"
HISTORY = "tests/rehearsal/test_history_debugging.py"
HISTORIES = "tests/rehearsal/test_histories.py"
CAPACITY = "tests/rehearsal/test_capacity.py"

MUTANTS = (
    Mutant(
        "faults are drawn from one stream, so one instance changes the luck of the others",
        "Performer._fails",
        'number_of(self.seed, "fault", address, call.name, call.args, ordinal)',
        'number_of(self.seed, "fault", sum(self.used.values()))',
        f"{REHEARSE}::test_a_change_of_one_instance_does_not_change_the_luck_of_others",
    ),
    Mutant(
        "acts with other arguments are the same act",
        "Act.does_as",
        "(self.what, self.name, self.given) == (other.what, other.name, other.given)",
        "(self.what, self.name) == (other.what, other.name)",
        f"{REHEARSE}::test_each_mistake_is_one_readable_difference[amount]",
    ),
    Mutant(
        "the debugger of the dashboard shows secrets",
        "_of_journal",
        "scrubbed(text, secrets) if secrets else text",
        "text",
        "tests/dashboard/test_rehearsal.py::test_the_debugger_of_a_journal_goes_from_position_to_position",
    ),
    Mutant(
        "an act that is missing is another one if its run was retried",
        "_comes",
        "if each.does_as(act):",
        "if each.does_as(act) and each.at_ms == act.at_ms:",
        f"{REHEARSE}::test_a_cause_is_looked_for_in_the_whole_run",
    ),
    Mutant(
        "the result hides that the limit has cut the requests",
        "Arrivals.notes",
        "if self.total > len(self.requests):",
        "if self.total > self.most > len(self.requests):",
        f"{REHEARSE}::test_no_more_requests_arrive_than_the_limit_and_the_result_says_so",
    ),
    Mutant(
        "the history is repeated once, and not until the end",
        "repeated",
        "for again in range(rounds)",
        "for again in range(1)",
        f"{REHEARSE}::test_the_history_repeats_requests_until_the_end",
    ),
    Mutant(
        "a rehearsal shows the secrets of the last state",
        "Recorder._state",
        "redacted_instance(job, row).state if has_secrets(job) else row.state",
        "row.state",
        f"{REHEARSE}::test_secrets_are_not_shown",
    ),
    Mutant(
        "an event that comes twice comes once",
        "_computed",
        "for _ in range(event.times):",
        "for _ in range(1):",
        f"{FUTURE}::test_an_event_comes_now_twice_and_late",
    ),
    Mutant(
        "a service that is down is never up again",
        "Performer._fails",
        "if elapsed_ms < self.answers.down_ms.get(call.name, 0):",
        "if self.answers.down_ms.get(call.name, 0):",
        f"{FUTURE}::test_a_service_is_down_for_a_while",
    ),
    Mutant(
        "a timeline has one entry more than its limit",
        "TimelineRecorder.note",
        "if len(self.entries) >= self.most:",
        "if len(self.entries) > self.most:",
        f"{FUTURE}::test_a_timeline_is_cut_at_its_limit_and_not_before",
    ),
    Mutant(
        "another answer keeps the stored answers behind it",
        "JournalDebugger.answer",
        "(*kept, body_of(row)), True",
        "(*kept, body_of(row), *self.rows[len(kept) + 1 :]), True",
        f"{JOURNAL}::test_another_answer_takes_another_way",
    ),
    Mutant(
        "a test of a journal has the secrets of the row",
        "JournalDebugger.as_test",
        "shown = redacted_instance(self.definition, self.instance, hide=_blank)",
        "shown = self.instance",
        f"{JOURNAL}::test_a_test_passes_with_this_code_and_fails_with_other_code",
    ),
    Mutant(
        "a world of a journal begins before all answers",
        "JournalDebugger.world",
        "rows, header = self.rows[: self._length(self.at)], header_of(self.instance)",
        "rows, header = self.rows[:0], header_of(self.instance)",
        f"{JOURNAL}::test_a_world_continues_from_a_position",
    ),
    Mutant(
        "a changed answer of a history keeps those behind it",
        "HistoryDebugger.answer",
        "if each < number}",
        "}",
        f"{HISTORY}::test_another_answer_changes_later_steps",
    ),
    Mutant(
        "a run of the past that ended otherwise looks as recorded",
        "HistoryPosition.as_recorded",
        "self.recorded == self.outcome",
        "bool(self.recorded)",
        f"{HISTORY}::test_a_failure_of_the_past_is_found_and_answered",
    ),
    Mutant(
        "a history is debugged without its pauses",
        "request_in",
        'action, payload, told_by = "pause", None, None',
        "return None",
        f"{HISTORY}::test_each_step_has_its_states_its_effects_and_its_locals",
    ),
    Mutant(
        "texts of persons are written to the file of histories",
        "Hidden._scalar",
        'return value and f"text {self._number(value)}"',
        "return value",
        f"{HISTORIES}::test_no_text_of_a_person_is_in_the_file",
    ),
    Mutant(
        "a history begins in the middle, where retention has cut it",
        "_Reading.event",
        "elif begins:",
        "elif begins or (isinstance(event, JobAccepted) and address not in self.found):",
        f"{HISTORIES}::test_a_history_without_its_beginning_is_counted",
    ),
    Mutant(
        "several engines have the slots of one",
        "for_rehearsal",
        "concurrency=app.limits.concurrency * engines",
        "concurrency=app.limits.concurrency",
        f"{CAPACITY}::test_runs_that_are_due_together_wait_for_slots",
    ),
    Mutant(
        "the requests of the history come at once in a simulation",
        "_Meter._arrivals",
        "start_ms + round_ * window_ms + arrival.at_ms - self.past.since_ms",
        "start_ms + round_ * window_ms",
        f"{CAPACITY}::test_the_requests_of_the_history_come_again",
    ),
    Mutant(
        "a call costs the same however often it happens",
        "_Meter._load",
        "cost * self._calls[name]",
        "cost",
        f"{CAPACITY}::test_runs_that_are_due_together_wait_for_slots",
    ),
)
