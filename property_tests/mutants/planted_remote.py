"""Bugs between processes: the server in front of hostile clients, its sessions, and the client of another process."""

from mutant import Mutant

BULKHEAD = "tests/server/test_bulkhead.py"
HOSTILE = "tests/server/test_hostile_clients.py"
TRACEBACKS = "tests/server/test_tracebacks.py"
SESSION = "tests/dashboard/test_session.py"
FAILED = "tests/remote/test_failed_requests.py"
CONNECTIONS = "tests/remote/test_connections.py"

MUTANTS = (
    # ------------------------------------------------------------ the server
    Mutant(
        "a probe receives a body",
        "server/guard.py",
        "        if has_body(request):",
        "        if request is None:",
        f"{HOSTILE}::test_a_probe_takes_no_body[1-413]",
    ),
    Mutant(
        "a page receives a body before its caller has signed in",
        "server/guard.py",
        '        if probe or (admitted == ANONYMOUS and (request["method"] != "POST" or path != _SIGN_IN)):',
        "        if probe:",
        f"{HOSTILE}::test_no_body_is_received_before_its_client_is_known",
    ),
    Mutant(
        "probes share the rate of wrong tokens of their address",
        "server/guard.py",
        "wait_ms = self._probe_rates.wait_ms(key, ",
        "wait_ms = self._rates.wait_ms(key.replace('probes of', 'address'), ",
        f"{HOSTILE}::test_probes_have_a_rate_of_their_own",
    ),
    Mutant(
        "a batch counts as one request",
        "server/guard.py",
        "self.runtime.monotonic_ms(), lines - 1)",
        "self.runtime.monotonic_ms(), 0)",
        f"{HOSTILE}::test_each_request_of_a_batch_counts_against_the_rate",
    ),
    Mutant(
        "one form to sign in too many is received",
        "server/guard.py",
        "    most = guard.limits.sign_ins\n",
        "    most = guard.limits.sign_ins + 1\n",
        f"{HOSTILE}::test_forms_to_sign_in_are_limited[2-503]",
    ),
    Mutant(
        "a connection beyond the limit serves every request",
        "server/guarded_connection.py",
        "{PROBES_ONLY: True} if",
        "{} if",
        f"{HOSTILE}::test_all_connections_in_use_leave_those_of_probes",
    ),
    Mutant(
        "a connection that is replaced is not told that nothing was done",
        "server/guarded_connection.py",
        '            if self.phase != "answering":\n                self._transport.write(self._connections.full)\n',
        "",
        f"{HOSTILE}::test_idle_connections_of_probes_are_replaced",
    ),
    Mutant(
        "a client whose work was admitted keeps its turn",
        "server/bulkhead.py",
        "                del self._queues[client]\n                if len(queue) > 1:\n"
        "                    self._queues[client] = queue  # behind the other clients\n",
        "                if len(queue) == 1:\n                    del self._queues[client]\n",
        f"{BULKHEAD}::test_clients_take_turns",
    ),
    Mutant(
        "one client takes the slots of all",
        "server/bulkhead.py",
        "held > self.of_one or self.held + weight > self.limit",
        "self.held + weight > self.limit",
        f"{BULKHEAD}::test_one_client_does_not_take_the_slots_of_all",
    ),
    Mutant(
        "light work overtakes heavy work for ever",
        "server/bulkhead.py",
        "                    return  # lighter work",
        "                    continue  # lighter work",
        f"{BULKHEAD}::test_heavy_work_is_not_overtaken_for_ever",
    ),
    Mutant(
        "work that gives up as it is admitted keeps its slot",
        "server/bulkhead.py",
        "            self.release(waiting.client, waiting.weight)\n            return\n        queue.remove",
        "            return\n        queue.remove",
        f"{BULKHEAD}::test_work_that_is_cancelled_in_the_step_of_its_admission_frees_its_slot",
    ),
    Mutant(
        "a list is computed for a client that has left",
        "server/routes.py",
        "lambda: handle(asked), left=asked.left)",
        "lambda: handle(asked))",
        f"{HOSTILE}::test_a_list_whose_client_has_left_is_not_computed",
    ),
    Mutant(
        "a wait lasts longer than its client",
        "server/routes.py",
        "lambda: unless_gone(_wait(asked), asked.left()))",
        "lambda: _wait(asked))",
        f"{HOSTILE}::test_a_wait_ends_when_its_client_leaves",
    ),
    Mutant(
        "batches of one client hold as many unread answers as they like",
        "server/batch.py",
        "unread.held_by(client) < unread.of_one",
        "client != ''",
        f"{HOSTILE}::test_unread_batches_hold_no_more_than_their_share",
    ),
    Mutant(
        "an answer is counted as read when it is ready",
        "server/batch.py",
        "                self._read(len(body))\n",
        "",
        f"{BULKHEAD}::test_answers_are_sent_in_parts_and_each_is_counted_until_it_is_sent",
    ),
    Mutant(
        "a client without the scope reads tracebacks in outcomes",
        "server/perform.py",
        "encoded if may_see_tracebacks(scopes) else without_tracebacks(encoded)",
        "encoded",
        f"{TRACEBACKS}::test_a_traceback_reaches_operators_alone[call]",
    ),
    Mutant(
        "a reader reads the stored answers of keys that it guesses",
        "server/perform.py",
        'denied("call", scopes)',
        'denied("read", scopes)',
        f"{TRACEBACKS}::test_an_explanation_with_a_key_needs_the_scope_of_the_request[read-guessed-call]",
    ),
    Mutant(
        "the second of two idempotency keys is ignored",
        "server/routes.py",
        "        if len(texts) > 1:",
        "        if len(texts) > 2:",
        f"{TRACEBACKS}::test_an_idempotency_key_that_is_sent_twice_is_refused",
    ),
    # ------------------------------------------------------------ the dashboard
    Mutant(
        "signing out ends nothing but the browser's cookie",
        "server/dashboard_session.py",
        " or self._has_ended(session)",
        "",
        f"{SESSION}::test_a_session_ends_when_its_caller_signs_out_and_no_other_does",
    ),
    Mutant(
        "sessions begin again when too many have ended",
        "server/dashboard_session.py",
        "self._all_ended[session.name], kept = next(self._issued), {}",
        "kept = {}",
        f"{SESSION}::test_ended_sessions_are_bounded_and_none_of_them_begins_again[101-None]",
    ),
    Mutant(
        "a page that follows the engine outlives its session",
        "server/dashboard_routes.py",
        "visit.caller == ANONYMOUS or self._has_signed_out(visit, now_ms)",
        "visit.caller == ANONYMOUS",
        f"{SESSION}::test_a_page_that_follows_the_engine_ends_with_its_session",
    ),
    Mutant(
        "an origin that is no URL is the dashboard's own",
        "server/page_access.py",
        "    except ValueError:  # such as ``http://[``\n        return False",
        "    except ValueError:  # such as ``http://[``\n        return True",
        f"{SESSION}::test_an_origin_that_is_no_url_is_another_site[http://[]",
    ),
    # ------------------------------------------------------------ the client and the wire
    Mutant(
        "a request without a key is repeated after its answer was lost",
        "remote/gateway.py",
        "safe=reads or envelope.key is not None, changes",
        "safe=True, changes",
        f"{FAILED}::test_a_request_without_a_key_is_not_repeated_after_its_answer_was_lost",
    ),
    Mutant(
        "a lost answer is forgotten when the server does not come back",
        "remote/gateway.py",
        "            if changes and isinstance(failure, OutcomeUnknown):\n                doubt = failure\n",
        "",
        f"{FAILED}::test_a_lost_answer_stays_in_doubt_when_the_server_does_not_come_back",
    ),
    Mutant(
        "a read whose answer was lost is not repeated",
        "remote/gateway.py",
        "        reads = envelope.action in READS\n",
        '        reads = envelope.action == "status"\n',
        f"{FAILED}::test_a_read_is_repeated_after_its_answer_was_lost",
    ),
    Mutant(
        "a request that waited for a connection is in doubt",
        "remote/batching.py",
        "        if number in self._queue:",
        "        if number not in self._queue:",
        f"{FAILED}::test_a_request_that_waited_for_a_connection_was_not_sent",
    ),
    Mutant(
        "the second half of a batch that is too large is not sent",
        "remote/batching.py",
        "            await self._send(batch[half:])\n",
        "",
        f"{FAILED}::test_a_batch_that_is_too_large_is_sent_in_halves",
    ),
    Mutant(
        "a full queue of a client is one too long",
        "remote/batching.py",
        "if len(self._queue) >= self.max_waiting:",
        "if len(self._queue) > self.max_waiting:",
        f"{FAILED}::test_requests_beyond_those_that_may_wait_are_refused",
    ),
    Mutant(
        "a connection that was idle for long is used again",
        "remote/connections.py",
        "if connection.usable and connection.idle_since_ms >= oldest:",
        "if connection.usable:",
        f"{CONNECTIONS}::test_a_connection_that_was_idle_for_long_is_not_used_again",
    ),
    Mutant(
        "a client unpacks a compressed answer",
        "remote/channel.py",
        '    if encoding.lower() != "identity":',
        '    if encoding == "never":',
        f"{CONNECTIONS}::test_a_compressed_answer_is_not_unpacked[gzip]",
    ),
    Mutant(
        "an answer may be one byte larger than the limit",
        "remote/channel.py",
        "    if size > most:",
        "    if size > most + 1:",
        f"{CONNECTIONS}::test_an_answer_larger_than_the_limit_is_lost[29-lost]",
    ),
    Mutant(
        "invalid input of a call by name is named by its type",
        "client/by_name.py",
        "            if payload and not _is_json(payload):",
        "            if not payload and not _is_json(payload):",
        "tests/remote/test_same_errors.py::test_any_text_as_input_by_name_is_the_same_error",
    ),
    Mutant(
        "a deeply nested payload is a defect of the server",
        "wire/envelope.py",
        "    except TypeError as error:",
        "    except KeyError as error:",
        f"{HOSTILE}::test_a_nested_payload_is_refused[255-422]",
    ),
    Mutant(
        "a part that only the server's definition has is no difference",
        "wire/contract.py",
        "for name in ours.keys() | theirs.keys() if",
        "for name in ours.keys() if",
        "tests/wire/test_contract.py::test_parts_that_only_one_side_has_differ",
    ),
    Mutant(
        "a failure of an unknown code with status 401 is in doubt",
        "wire/problems.py",
        '    if problem.get("status") in {401, 403}:',
        '    if problem.get("status") in {403}:',
        "tests/wire/test_errors_as_problems.py::test_a_refusal_of_a_proxy_is_a_refusal[401]",
    ),
)
