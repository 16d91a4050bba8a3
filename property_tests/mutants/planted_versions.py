"""Bugs in the values of two versions of the code."""

from mutant import Mutant

LAWS = "codecs/test_version_laws.py"
EXAMPLES = "tests/codecs/test_newer_code.py"
OLDER = "tests/behaviour/test_older_code.py"

MUTANTS = (
    Mutant(
        "older code drops the unknown members of list elements",
        "codecs/shapes.py",
        "        pairs = [self.item.split(each) for each in data]\n",
        "        pairs = [(self.item.split(each)[0], None) for each in data]\n",
        f"{EXAMPLES}::test_unknown_members_are_kept_over_two_changes",
    ),
    Mutant(
        "an unknown member stays at the index of its element",
        "codecs/rests.py",
        "    search.by_identity()\n    if not search.is_done:\n        search.by_place()",
        "    search.by_key()\n    if not search.is_done:\n        search.by_place()",
        f"{EXAMPLES}::test_unknown_members_are_kept_over_two_changes",
    ),
    Mutant(
        "an element that was changed or replaced loses its unknown members",
        "codecs/rests.py",
        "        search.refuse_changed(is_ordered=True)\n",
        "        pass\n",
        f"{EXAMPLES}::test_a_line_with_no_certain_place_is_left_for_newer_code",
    ),
    Mutant(
        "two elements that change into each other exchange their unknown members",
        "codecs/rests.py",
        "if old.text != new.text and self._part(other) != self._part(old):",
        "if False:",
        f"{EXAMPLES}::test_an_element_that_became_equal_to_another_one_is_left",
    ),
    Mutant(
        "an entry of a dict is not found at another key",
        "codecs/rests.py",
        "    search.by_identity()\n    if not search.is_done:\n        search.by_key()",
        "    if not search.is_done:\n        search.by_key()",
        f"{EXAMPLES}::test_entries_are_found_at_another_key_by_their_objects",
    ),
    Mutant(
        "an object of another class keeps the unknown members",
        "codecs/shapes.py",
        "        if data.get(TAG) != rest.tag:\n",
        "        if False:\n",
        f"{LAWS}::test_after_changes_by_older_code_each_unknown_member_is_at_its_own_object",
    ),
    Mutant(
        "a class reads the objects of another class",
        "codecs/shapes.py",
        "        if type(data) is not dict or self._other_class(data):\n",
        "        if type(data) is not dict:\n",
        f"{EXAMPLES}::test_a_lone_class_reads_its_own_tag_and_no_other",
    ),
    Mutant(
        "an object without a tag is of the last class of a union",
        "codecs/shapes.py",
        "        return next(iter(self.members))\n",
        "        return list(self.members)[-1]\n",
        f"{EXAMPLES}::test_the_first_class_of_a_union_reads_an_object_without_a_tag",
    ),
    Mutant(
        "members that newer code wrote are shown",
        "codecs/codec.py",
        "            return plain if rest is None else rests.with_unknown(known, rest, HIDDEN)\n",
        "            return plain\n",
        f"{EXAMPLES}::test_unknown_members_are_hidden_also_of_types_without_secrets",
    ),
    Mutant(
        "unknown members of an input are dropped",
        "codecs/codec.py",
        "        if opened.rest is not None:\n            raise",
        "        if False:\n            raise",
        f"{EXAMPLES}::test_an_input_with_an_unknown_member_is_refused_with_its_path",
    ),
    Mutant(
        "a message shows a part of a secret that newer code wrote",
        "codecs/redaction.py",
        "        structure=lambda: shapes.SecretShape(schema.shape()),\n",
        "        structure=lambda: schema.shape(),\n",
        f"{EXAMPLES}::test_no_message_shows_a_part_of_a_secret",
    ),
    Mutant(
        "members of a set that are equal to older code become one",
        "codecs/shapes.py",
        "        if rest is not None and len({orjson.dumps(each) for each in known}) < len(known):\n",
        "        if False:\n",
        f"{EXAMPLES}::test_members_of_a_set_that_are_equal_to_older_code_are_left",
    ),
    Mutant(
        "a class whose converter changes newer values loses their members",
        "codecs/codec.py",
        "        if self._doubtful and self._schema.write(value) != known:\n",
        "        if False:\n",
        f"{EXAMPLES}::test_a_class_that_changes_its_fields_leaves_a_value_to_newer_code",
    ),
    Mutant(
        "a required field counts as an additive change",
        "codecs/compatible.py",
        '            if name in known and name not in written.get("required", ()):\n',
        "            if False:\n",
        f"{LAWS}::test_the_verdict_on_a_change_says_whether_it_only_adds",
    ),
    Mutant(
        "another first class of a union counts as an additive change",
        "codecs/compatible.py",
        "        if None not in (first, other) and first != other:\n",
        "        if False:\n",
        f"{LAWS}::test_the_verdict_on_a_change_says_whether_it_only_adds",
    ),
    Mutant(
        "the second change of a state in a turn is joined with the state before the first one",
        "jobs/draft.py",
        "        self.state, self.opened = state, opened\n",
        "        self.state = state\n",
        f"{OLDER}::test_two_changes_in_one_turn_keep_them",
    ),
    Mutant(
        "a state in memory forgets the members that newer code wrote",
        "engine/plain_events.py",
        "event.state, event.opened)",
        "event.state)",
        f"{OLDER}::test_older_code_continues_and_newer_code_finds_its_members",
    ),
    Mutant(
        "a run that set a state with no certain place for a member is committed",
        "jobs/turn.py",
        "problem: InvalidInput | None = execute.draft.left",
        "problem: InvalidInput | None = None",
        f"{OLDER}::test_a_member_with_no_certain_place_is_not_lost",
    ),
    Mutant(
        "a replay of older code drops the members of the stored state",
        "kinds/workflow/draft.py",
        "return data, self.stored or after",
        "return data, after",
        f"{OLDER}::test_a_workflow_of_newer_code_is_replayed_by_older_code",
    ),
    Mutant(
        "events show the members that newer code wrote into a state without secrets",
        "jobs/redaction.py",
        "(has_secrets(job) or job.plan.state_in_events)",
        "has_secrets(job)",
        f"{OLDER}::test_no_tool_of_older_code_shows_them",
    ),
    Mutant(
        "an object of an event takes over members of the object that it replaces",
        "codecs/shapes.py",
        "        if joining.is_new(value):\n",
        "        if False:\n",
        f"{OLDER}::test_the_newest_event_of_a_batch_takes_over_no_members_of_the_one_before",
    ),
)
