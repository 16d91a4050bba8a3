"""Bugs in attributes: how they are computed, kept beside their instances, filled, doubted and searched."""

from mutant import Mutant

LAWS = "stores/test_attribute_laws.py"
MEMORY = f"{LAWS}::test_filters_agree_with_the_functions_in_memory"
SQLITE = f"{LAWS}::test_filters_agree_with_the_functions_in_sqlite"
VALUES = "tests/values/test_attributes.py"
KIT = "tests/stores/test_conformance.py"
OTHER_CODE = f"{KIT}::test_the_store_keeps[other_code_puts_attributes_in_doubt-SharedMemoryHarness]"
CAME_AND_WENT = (
    f"{KIT}::test_the_store_keeps[an_opening_that_came_and_went_puts_attributes_in_doubt-SharedMemoryHarness]"
)
LIFE = f"{KIT}::test_the_store_keeps[an_attribute_is_cleared_filled_and_whole-"

MUTANTS = (
    Mutant(
        "a commit writes only the attributes of a new instance",
        "AttributeChanges.with_attributes",
        "changed = tuple(pair for pair in keys if held.get(pair[0]) != pair[1])",
        "changed = ()",
        MEMORY,
    ),
    Mutant(
        "a purge leaves the attributes",
        "AttributeChanges.with_attributes",
        "return attrs.evolve(transition, attributes=())",
        "return transition",
        SQLITE,
    ),
    Mutant(
        "a state of another version of the code counts as known",
        "AttributeChanges._keys_before",
        "known[0] == _text_of(instance)",
        "known[0] is not None",
        f"{VALUES}::test_the_keys_before_are_those_of_the_row_before",
    ),
    Mutant(
        "the key of a negative amount is that of its opposite",
        "_decimal_key",
        "text.translate(_NINES)",
        "text",
        f"{LAWS}::test_keys_of_near_decimals_are_in_order",
    ),
    Mutant(
        "at most is less than",
        "_key_range",
        '"<=": (FOUND, after)',
        '"<=": (FOUND, key)',
        f"{LAWS}::test_the_text_of_a_condition_is_read_back[int]",
    ),
    Mutant(
        "the second condition on an attribute replaces the first",
        "key_ranges",
        "KeyRange(one.attribute, max(one.low, other.low), min(one.high, other.high))",
        "one",
        f"{VALUES}::test_conditions_on_one_attribute_are_one_range",
    ),
    Mutant(
        "a secret value becomes an attribute",
        "_key",
        "if secrets and str(value) in secrets:",
        "if False:",
        f"{VALUES}::test_a_value_that_the_state_marks_as_secret_is_not_kept",
    ),
    Mutant(
        "the message of an exception is kept beside the instance",
        "_failure",
        "FAILED + type(error).__name__",
        "FAILED + str(error)",
        f"{VALUES}::test_a_function_that_raises_fails_without_its_message",
    ),
    Mutant(
        "a changed function keeps the values of the function before",
        "_fingerprint",
        "list(function_texts((one.function,)))",
        "[]",
        f"{VALUES}::test_a_fingerprint_follows_the_function_its_version_and_type",
    ),
    Mutant(
        "an answer is complete while an attribute is filled",
        "generations_of",
        'if one.state != "whole" or',
        "if",
        MEMORY,
    ),
    Mutant(
        "an answer is complete although a value could not be computed",
        "generations_of",
        'one.doubt == "some" or one.failures',
        'one.doubt == "some"',
        "tests/cli/test_attributes.py::test_instances_that_may_be_missing_are_reported_and_nothing_is_changed",
    ),
    Mutant(
        "a command changes the instances of an incomplete filter",
        "_refuse",
        "raise UsageError(INCOMPLETE)",
        "return",
        "tests/cli/test_attributes.py::test_instances_that_may_be_missing_are_reported_and_nothing_is_changed",
    ),
    Mutant(
        "a row that changed while its attributes were computed is filled with the old ones",
        "fill",
        "if cursor.execute(_IS_AT, (each.incarnation, each.version)).fetchone() is None:",
        "if cursor.execute(_IS_AT, (each.incarnation, each.version)).fetchone() == ():",
        f"{LIFE}SqliteHarness]",
    ),
    Mutant(
        "filling ends after the first page",
        "FillingAttributes._fill",
        'rest="some" if len(rows) == size else "none"',
        'rest="none"',
        MEMORY,
    ),
    Mutant(
        "an opening that has declared nothing puts nothing in doubt",
        "Opening.may_spoil",
        "return not self.serves or job in self.serves",
        "return False",
        OTHER_CODE,
    ),
    Mutant(
        "an opening that has ended has spoiled nothing",
        "AttributeTable._suspects",
        "(each.is_open or epoch > known.since)",
        "each.is_open",
        CAME_AND_WENT,
    ),
    Mutant(
        "a conflict writes attributes",
        "apply",
        "    fence = _write_row(cursor, counters, change.write)\n    if fence is None:\n        return None\n",
        "    fence = _write_row(cursor, counters, change.write)\n    if fence is None:\n"
        "        _write_attributes(cursor, counters, change, Fence(1, 1))\n        return None\n",
        f"{KIT}::test_the_store_keeps[a_commit_keeps_the_attributes_of_its_instance-SqliteHarness]",
    ),
    Mutant(
        "a search by attributes ignores the other conditions",
        "AttributeSearch._matching",
        'texts.append(f"EXISTS (SELECT 1 FROM {keys} WHERE k.incarnation = a.incarnation AND {condition})")',
        'texts.append(f"EXISTS (SELECT 1 FROM {keys} WHERE k.incarnation = a.incarnation OR {condition})")',
        SQLITE,
    ),
)
