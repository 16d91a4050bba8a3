"""Bugs at the surface of the library: files, secrets in texts, the command line, logs."""

from mutant import Mutant

CALLS = "tests/behaviour/test_calls.py"
CODES = "tests/cli/test_exit_codes.py"
SECRETS = "tests/behaviour/test_secrets.py"
URLS = "tests/cli/test_urls.py"
PERMISSIONS = "tests/cli/test_file_permissions.py"

MUTANTS = (
    Mutant(
        "a cleared key keeps its time",
        "forget",
        "expires_ms=0,",
        "expires_ms=remembered.expires_ms,",
        "tests/behaviour/test_keys.py::test_a_key_that_is_cleared_lets_its_request_be_made_again[memory]",
    ),
    Mutant(
        "a key is cleared under its run",
        "forget",
        "row is not None and key in",
        "row is None and key in",
        "tests/behaviour/test_keys.py::test_a_key_is_not_cleared_while_another_engine_runs_its_request",
    ),
    Mutant(
        "the status of an item that waits cannot be matched by position",
        "Waiting",
        "    status: Status\n",
        "    status: Status = attrs.field(kw_only=True)\n",
        "tests/values/test_answer.py::test_an_outcome_is_matched_by_position",
    ),
    Mutant(
        "the value of a workflow that is done cannot be matched by position",
        "Done",
        "    value: A_co = attrs.field(repr=excerpt)",
        "    value: A_co = attrs.field(repr=excerpt, kw_only=True)",
        "tests/values/test_answer.py::test_an_outcome_is_matched_by_position",
    ),
    Mutant(
        "the words of the parser reach a client's error",
        "reason_of",
        "httpx2.RemoteProtocolError() | h11.RemoteProtocolError():",
        "httpx2.RemoteProtocolError():",
        "tests/remote/test_failed_requests.py::test_an_error_names_no_state_of_the_parser",
    ),
    Mutant(
        "the dashboard buries a message without a confirmation",
        "Dashboard._bury",
        'if form.text("confirmed") != "yes":',
        "if False:",
        "tests/dashboard/test_ended.py::"
        "test_instances_and_messages_that_code_left_are_on_the_pages_of_those_that_wait_for_an_operator",
    ),
    # ------------------------------------------------------------ calls
    Mutant(
        "a call that fails returns its error",
        "Call.__await__",
        "        raise ended.failure()",
        "        return ended.failure()",
        f"{CALLS}::test_await_returns_the_answer_or_raises_the_error",
    ),
    Mutant(
        "a call that is never awaited is not reported",
        "Call.__del__",
        "        if self._begin is not None:\n            warnings.warn(",
        "        if self._running is not None:\n            warnings.warn(",
        f"{CALLS}::test_a_call_that_is_never_awaited_is_named",
    ),
    Mutant(
        "a second task of a call returns None",
        "Call._task",
        "if getgeneratorstate(self._running) == GEN_CLOSED:",
        "if self._running.gi_running:",
        f"{CALLS}::test_a_call_is_a_coroutine_for_a_task",
    ),
    Mutant(
        "a call that was awaited before is sent again",
        "_taken",
        "    begin, call._begin = call._begin, None",
        "    begin = call._begin",
        "behaviour/test_call_laws.py::test_every_call_refuses_a_second_await",
    ),
    # ------------------------------------------------------------ files
    Mutant(
        "every user can read a new store",
        "PRIVATE",
        "PRIVATE: Final = 0o600",
        "PRIVATE: Final = 0o644",
        f"{PERMISSIONS}::test_every_file_of_a_store_is_private[000]",
    ),
    Mutant(
        "the umask decides who can read a new store",
        "_database_locked",
        "file = open_private(path, os.O_RDWR)",
        "file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)",
        f"{PERMISSIONS}::test_every_file_of_a_store_is_private[022]",
    ),
    Mutant(
        "a lock file that every user can read is not reported",
        "_BESIDE",
        '_BESIDE: Final = ("", ".lock", "-wal", "-shm")',
        '_BESIDE: Final = ("",)',
        f"{PERMISSIONS}::test_an_exposed_file_is_reported_at_the_start_and_by_the_doctor[.lock-420]",
    ),
    Mutant(
        "a dead engine is named as the owner of a locked file",
        "holder_of",
        "    if not holders or (named is not None and named[1] in holders):",
        "    if signed:",
        f"{PERMISSIONS}::test_a_process_that_locks_the_store_and_is_no_engine_is_named",
    ),
    # ------------------------------------------------------------ secrets in texts
    Mutant(
        "a password with a slash is printed",
        "redacted_url",
        'rest.rpartition("@")',
        'rest.rpartition("@") if "@" in rest.split("/")[0] else ("", "", rest)',
        f"{URLS}::test_a_redacted_url_has_no_secret",
    ),
    Mutant(
        "the repr of an app that opens shows the password of its store",
        "OpenApp.__repr__",
        "store = redacted_url(self.store) if isinstance(self.store, str) else self.store",
        "store = self.store",
        f"{URLS}::test_no_value_or_error_of_the_library_shows_a_secret_of_a_url",
    ),
    Mutant(
        "a secret in the middle of Base64 is left",
        "_encoded",
        "for before in range(3):",
        "for before in range(1):",
        f"{SECRETS}::test_no_part_of_a_secret_is_left_in_any_form",
    ),
    Mutant(
        "a secret that is escaped for a URL is left",
        "_any_form",
        "    if point <= _LAST_OF_LATIN_1:",
        "    forms = [each for each in forms if '%' not in each]\n    if point <= _LAST_OF_LATIN_1:",
        f"{SECRETS}::test_no_part_of_a_secret_is_left_in_any_form",
    ),
    Mutant(
        "the text around a secret in Base64 is left",
        "_replaced",
        "        if extends:\n",
        "        if not extends:\n",
        f"{SECRETS}::test_an_encoded_text_with_a_secret_in_it_is_replaced_with_its_rest",
    ),
    Mutant(
        "secret bytes are printed by their repr",
        "_plain",
        '        yield data.decode("latin-1")',
        "        yield secret",
        f"{SECRETS}::test_no_part_of_secret_bytes_is_left",
    ),
    # ------------------------------------------------------------ silent things
    Mutant(
        "a body of the tracker exceeds its limit by its brackets",
        "fitting",
        "size = len(_BEGIN) + len(_END) - 1",
        "size = 0",
        "tests/telemetry/test_tracker.py::test_no_body_of_several_events_is_larger_than_its_limit[memory]",
    ),
    Mutant(
        "a typed error is an error in the log",
        "_record",
        '"warning" if errors and all(error.form == "failure" for error in errors) else "error"',
        '"error"',
        "tests/behaviour/test_incidents.py::test_only_a_defect_is_an_error[memory-none-refusing-warning]",
    ),
    Mutant(
        "a cancelled wait for the end of an engine ends the other waits",
        "LocalGateway._stopped",
        "        return Success(await waiting)",
        "        return Success(await self.engine.ended)",
        "tests/behaviour/test_stopped.py::test_a_caller_that_waits_no_longer_ends_no_other_wait",
    ),
    Mutant(
        "an engine that is closed ends no wait for its end",
        "RunningEngine.stop",
        '        self._tell_stopped("")\n        if interrupted',
        "        if interrupted",
        "tests/behaviour/test_stopped.py::test_a_caller_that_waits_no_longer_ends_no_other_wait",
    ),
    Mutant(
        "a decision sets an alarm of a task without execute",
        "_Alarmless._change_alarm",
        "        if decision.alarm not in (Alarm.keep, Alarm.clear):",
        "        if decision.alarm is None:",
        "tests/behaviour/test_alarms_without_execute.py::test_a_hook_that_sets_an_alarm_fails[memory-hooks2]",
    ),
    Mutant(
        "the alarm of a task without execute fires for nothing",
        "_nothing",
        'return succeed(None) if claim.cause == "trigger" else succeed(None).bind(_refuse)',
        "return succeed(None)",
        "tests/behaviour/test_alarms_without_execute.py::test_an_alarm_of_an_older_definition_fails_visibly[memory]",
    ),
    Mutant(
        "an effect of a world that needs an event loop is not named",
        "_real_io",
        "    if has_no_loop or ",
        "    if ",
        "tests/testing/test_real_io.py::test_an_effect_that_needs_an_event_loop_is_named[sleeps]",
    ),
    # ------------------------------------------------------------ the command line
    Mutant(
        "a check reads the code of the current directory although PYTHONPATH names another",
        "_import",
        "sys.path.insert(_after_python_path(), here)",
        "sys.path.insert(0, here)",
        "tests/cli/test_check.py::test_the_code_of_python_path_is_checked_and_named",
    ),
    Mutant(
        "the last of several changes decides the exit code",
        "apply_to",
        "worst, done = max(worst, code), done",
        "worst, done = code, done",
        f"{CODES}::test_the_codes_of_the_commands_that_reach_an_engine",
    ),
    Mutant(
        "an empty answer to a question is a yes",
        "is_confirmed",
        'in {"y", "yes"}',
        'not in {"n", "no"}',
        f"{CODES}::test_a_question_that_is_answered_no_is_130",
    ),
    Mutant(
        "a wait that ends without its status is a success",
        "_awaited_code",
        "            return ExitCode.FAILED",
        "            return ExitCode.DONE",
        f"{CODES}::test_the_codes_of_the_commands_that_reach_an_engine",
    ),
    Mutant(
        "a store that failed is healthy for a supervisor",
        "health",
        'return ExitCode.FAILED if report.state == "failed" else ExitCode.DONE',
        "return ExitCode.DONE",
        f"{CODES}::test_the_codes_of_the_commands_that_reach_an_engine",
    ),
    # ------------------------------------------------------------ telemetry
    Mutant(
        "a tracker goes back to the position of another engine",
        "Position.follow",
        "if found.sequence is not None and found.sequence > self.done:",
        "if found.sequence is not None:",
        "tests/telemetry/test_tracker_position.py::test_a_position_follows_other_engines_and_never_goes_back",
    ),
    Mutant(
        "a field of a log line replaces its level",
        "JsonLine.format",
        "        return encoded(ordered | line)",
        "        return encoded(ordered | fields | line)",
        "tests/telemetry/test_logs.py::test_a_field_of_a_line_hides_none_of_its_facts",
    ),
    Mutant(
        "a resumed instance is drawn as one that waited",
        "_STEPS",
        'JobResumed: ("paused", "waiting"),',
        'JobResumed: ("waiting", "waiting"),',
        "tests/dashboard/test_activity.py::test_each_event_is_a_step_of_its_job",
    ),
    # ------------------------------------------------------------ encryption
    Mutant(
        "equal answers of a key look equal in the file",
        "RecordCipher._remember",
        'f"{remembered.expires_ms:x}"',
        '""',
        "tests/stores/test_encryption.py::test_equal_answers_of_a_key_look_different_when_it_is_used_again",
    ),
    Mutant(
        "an app with other services declares no instances",
        "with_services",
        "changed: App[R] = other._changed(ensured=app.ensured, sinks=app.sinks)",
        "changed: App[R] = other._changed(sinks=app.sinks)",
        "tests/behaviour/test_ensuring.py::test_a_world_with_other_services_declares_the_same_instances",
    ),
    Mutant(
        "the exception of a sink's end is lost beside that of the block",
        "_watching",
        "            if raised is not error:",
        "            if error is None:",
        "tests/behaviour/test_sinks.py::test_the_end_of_a_sink_neither_fails_the_app_nor_hides_its_exception",
    ),
    Mutant(
        "the doctor of an engine does not ask for what code left",
        "waiting_work",
        'ListFilter(status="left", limit=MAX_PAGE)',
        'ListFilter(status="paused", limit=MAX_PAGE)',
        "tests/cli/test_doctor.py::test_instances_that_code_left_are_found_on_a_file_and_by_its_engine",
    ),
    Mutant(
        "a webhook that was signed long ago is accepted",
        "WebhookVerifier._check",
        "abs(age_ms) > self.tolerance_ms",
        "-age_ms > self.tolerance_ms",
        "tests/integrations/test_web.py::test_a_webhook_that_was_signed_long_ago_or_far_ahead_is_refused",
    ),
    Mutant(
        "the id of a webhook is not part of what its sender signs",
        "WebhookVerifier.verify",
        'f"{id_}.{at_s}.".encode() + body',
        'f"{at_s}.".encode() + body',
        "tests/integrations/test_web.py::test_a_signed_webhook_is_verified_and_a_changed_one_is_refused",
    ),
)
