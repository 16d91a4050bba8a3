"""The suite checks every sentence of the contract."""

import inspect
import re
from collections import Counter

from perdure.stores import contract, values
from perdure.stores.copying import CopySource, CopyTarget
from perdure.testing.conformance import CASES, REQUIREMENTS
from perdure.testing.conformance.requirements import NO_CASE


def one_line(text):
    return " ".join(text.split())


CAPABILITIES = (
    contract.StoredLanes,
    contract.StoredJournals,
    values.StoredStreams,
    values.StoredHistories,
    contract.Cursors,
    contract.StoredCounts,
    contract.Backups,
    contract.StoredAttributes,
    contract.Sharing,
)


def sentences_of_the_store():
    """The docstrings of `Store` and of its capabilities: those of classes from the second paragraph on."""
    return " ".join(map(sentences_of_a_class, (contract.Store, *CAPABILITIES)))


def sentences_of_a_class(of):
    text, _, data = inspect.getdoc(of).partition("\n\n")[2].partition("Attributes:")
    data = re.sub(rf" (?:{'|'.join(vars(of).get('__annotations__', {}))}): ", " ", f" {one_line(data)}") if data else ""
    functions = (inspect.getdoc(each) for name, each in vars(of).items() if is_public_function(name, each))
    return one_line(" ".join((text, data, *functions)))


def is_public_function(name, each):
    return not name.startswith("_") and (inspect.isfunction(each) or isinstance(each, property))


def sentences_that_matter_most():
    return one_line(re.sub(r"\* \*\*\w+\*\*:", "", inspect.getdoc(contract).split("matter most:", 1)[1]))


def sentences_about_ownership():
    return one_line(inspect.getdoc(values.Capabilities).split("ownership:")[1].split("durability:")[0])


def sentences_of_copies():
    """The docstrings of `CopySource` and `CopyTarget`, as above."""
    texts = (inspect.getdoc(each) for each in (CopySource, CopyTarget))
    text = " ".join(one_line(text.replace("Attributes:", "")) for text in texts)
    written = re.sub(r"(?:^| )(?:name: [^.]*\.|written:|\w+: ``\([^`]*\)``:)", "", text)
    return re.sub(r"A store that is (read|written)\. ", "", written)


def test_the_requirements_are_the_sentences_of_the_contract_all_of_them():
    written = f"{sentences_that_matter_most()} {sentences_of_the_store()}"
    written = f"{written} {sentences_about_ownership()} {sentences_of_copies()}"
    for requirement in sorted(REQUIREMENTS, key=lambda one: -len(one.text)):
        assert requirement.text in written, f"the contract does not say (any more): {requirement.text}"
        written = written.replace(requirement.text, "", 1)
    assert written.strip() == "", "sentences of perdure.stores.contract that no requirement of the suite holds"


def test_every_requirement_has_a_case_or_a_reason():
    kept = {requirement for case in CASES for requirement in case.requirements}
    assert kept | set(NO_CASE) == set(REQUIREMENTS)
    assert not kept & set(NO_CASE)


def test_every_case_keeps_a_requirement():
    assert [case.name for case in CASES if not case.requirements] == []


def test_every_function_and_attribute_has_a_requirement():
    functions = {name for name, each in vars(contract.Store).items() if is_public_function(name, each)}
    assert functions | contract.Store.__annotations__.keys() <= {requirement.operation for requirement in REQUIREMENTS}


def test_cases_have_names_of_their_own():
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
