"""Bugs that two versions of the code show which run beside each other."""

from mutant import Mutant

MATRIX = "versions/test_matrix.py::test_additive_changes_are_compatible_in_both_directions"
CONTINUES = "versions/test_matrix.py::test_an_older_engine_continues_the_work_of_a_newer_one"
TAKES_UP = "versions/test_matrix.py::test_a_newer_engine_takes_up_the_work_that_an_older_one_left"
OTHER_VERSION = "versions/test_matrix.py::test_a_repeat_at_an_engine_of_the_other_version_is_one_request"
RESULTS = "versions/test_matrix.py::test_a_result_of_older_code_has_the_members_that_newer_code_wrote"
OLDER = "tests/behaviour/test_older_code.py"
DEPLOY = "tests/cli/test_deploy_check.py"

MUTANTS = (
    Mutant(
        "older code leaves a whole float that newer code wrote",
        "_read_int",
        "return int(data) if type(data) is float and is_whole(data) else _int(data)",
        "return _int(data)",
        f"{CONTINUES}[task-whole-float]",
    ),
    Mutant(
        "the check before a deploy calls a fraction another kind of JSON",
        "_mismatch",
        'return "fraction"',
        'return "other form"',
        f"{DEPLOY}::test_a_wider_number_is_not_read_where_it_is_a_fraction",
    ),
    Mutant(
        "the check before a deploy says that exchanged branches diverge",
        "_of_steps",
        "if before in new[at:] and after in old[at:]:",
        "if False:",
        f"{DEPLOY}::test_steps_that_moved_are_reported_with_the_way_to_prove_that_nothing_diverges",
    ),
    Mutant(
        "older code cannot follow a step whose outcome newer code wrote",
        "Replay._answer_of",
        "self.draft.known(values.open(row.value.encode()))",
        "values.decode(row.value.encode())",
        f"{CONTINUES}[workflow-field]",
    ),
    Mutant(
        "older code cannot receive a signal that newer code stored",
        "Replay._answer_of",
        "self.draft.known(self._signal_codec(instruction.name).open(value.encode()))",
        "self._signal_codec(instruction.name).decode(value.encode())",
        f"{CONTINUES}[workflow-field]",
    ),
    Mutant(
        "newer engines leave instances that older ones left",
        "TakingUp._look",
        "                    if row.address not in self._posted:\n",
        "                    if False:\n",
        f"{TAKES_UP}[workflow-form]",
    ),
    Mutant(
        "code that reads a left message waits a minute for it",
        "TakingUp._look",
        "offered = await self.outbox.deliver_left(self.codes)",
        "offered = 0",
        "sharing/test_left.py::test_a_message_of_newer_code_is_delivered_by_newer_code",
    ),
    Mutant(
        "a signal's object loses the members of newer code in a result of older code",
        "Replay._answer_of",
        "self.draft.known(self._signal_codec(instruction.name).open(value.encode()))",
        "self._signal_codec(instruction.name).open(value.encode()).value",
        f"{RESULTS}[workflow]",
    ),
    Mutant(
        "an item's object loses the members of newer code in the result of older code",
        "WorkerPool.draft",
        "if fresh.opened is not None:",
        "if False:",
        f"{RESULTS}[pool]",
    ),
    Mutant(
        "a step's answer loses the members of newer code",
        "encoded",
        "encode(codec, value)",
        "codec.encode(value)",
        f"{OLDER}::test_a_workflow_keeps_those_of_its_signals_and_steps[memory]",
    ),
    Mutant(
        "a changed item is a result without the members of newer code",
        "CarryingDraft.encode",
        "and codec.form == self.codec.form",
        "and codec is self.codec",
        f"{OLDER}::test_the_changed_item_of_a_pool_keeps_them_in_the_result[memory]",
    ),
    Mutant(
        "a result in which a member has no certain place parks the item",
        "succeeded",
        "except NewerOnly as newer:",
        "except ZeroDivisionError as newer:",
        f"{OLDER}::test_a_result_in_which_a_member_has_no_certain_place_is_left[memory]",
    ),
    Mutant(
        "a repeat at an older engine is another request",
        "_AsOther.__call__",
        "return mark in self.others[place] if place in self.others else is_default",
        "return is_default",
        f"{OTHER_VERSION}[task-new-old]",
    ),
    Mutant(
        "a repeat at a newer engine is another request",
        "_ways",
        "for number in range(len(places) + 1):",
        "for number in range(1):",
        f"{OTHER_VERSION}[task-old-new]",
    ),
    Mutant(
        "the other default of a member is the same input",
        "_AsOther.__call__",
        "if place in self.others else is_default and",
        "if place in self.others and not is_default else is_default and",
        "codecs/test_bare_laws.py::test_inputs_that_have_the_different_defaults_of_two_versions_are_two_requests",
    ),
    Mutant(
        "a digest has a mark for each of any number of members",
        "digest_of",
        "[:MOST_MARKS]",
        "",
        "codecs/test_bare_laws.py::test_a_digest_has_a_limit",
    ),
    Mutant(
        "an older engine accepts an event without the fields that it does not know",
        "_accepted",
        "if unknown := codec.unknown(bare):",
        "if not (unknown := codec.unknown(bare)):",
        "tests/codecs/test_newer_code.py::test_a_command_is_refused_unless_its_unknown_members_have_their_defaults",
    ),
    Mutant(
        "a repeat of a keyed request that was refused is another run",
        "run_id_of",
        '        return _computed_id("key", str(address), request.action, request.idempotency_key)',
        "        return new_id()",
        f"{MATRIX}[task]",
    ),
    Mutant(
        "an instance that older code left is listed without the reason",
        "report_status",
        "left=None if left is None else left.error,",
        "left=None,",
        f"{TAKES_UP}[task-form]",
    ),
    Mutant(
        "a mark is as old as the last code that left the instance",
        "report_status",
        "left.since_ms if left is not None else",
        "instance.updated_ms + 1 if left is not None else",
        f"{TAKES_UP}[task-form]",
    ),
    Mutant(
        "a put by name is in doubt after a lost answer",
        "RemoteJob._ask",
        '"starts_again" if envelope.action in CREATES else "applies_again"',
        '"applies_again"',
        "tests/remote/test_several_servers.py::test_requests_that_may_be_repeated_survive_lost_answers",
    ),
    Mutant(
        "a check before a deploy calls a reordered step compatible",
        "_of_steps",
        "new[: len(old)] == old:",
        "sorted(new[: len(old)]) == sorted(old):",
        f"{DEPLOY}::test_steps_that_moved_are_reported_with_the_way_to_prove_that_nothing_diverges",
    ),
    Mutant(
        "a patch that drops old steps is compatible",
        "_of_steps",
        "after.startswith(PATCH) and _is_inside(old[at:], new[at:])",
        "after.startswith(PATCH)",
        f"{DEPLOY}::test_a_change_of_steps_needs_a_version",
    ),
    Mutant(
        "the steps of functions that a program calls are not compared",
        "_Reading._named",
        "return self.of(value) if function is not None and package_of(function) == body.package else ()",
        "return ()",
        f"{DEPLOY}::test_the_steps_of_a_program_are_those_of_its_source",
    ),
    Mutant(
        "a result that a client cannot read ends its caller",
        "decoded",
        "        except InvalidInput as problem:\n",
        "        except ZeroDivisionError as problem:\n",
        "tests/remote/test_two_versions.py::test_a_result_that_the_client_cannot_read_is_a_typed_error[Workflow]",
    ),
)
