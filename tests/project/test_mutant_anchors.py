"""A change of the source that removes the text of a planted mutant moves the mutant as well."""

import ast

from planted import MUTANTS


def test_the_text_of_each_mutant_is_in_the_source_once() -> None:
    sources = {mutant.path: mutant.path.read_text(encoding="utf-8") for mutant in MUTANTS}
    lost: list[str] = []
    for mutant in MUTANTS:
        try:
            changed = mutant.apply(sources[mutant.path])
        except ValueError as error:
            lost.append(str(error))
        else:
            assert changed != sources[mutant.path], mutant
            if mutant.path.suffix == ".py":  # another one is a migration
                ast.parse(changed, mutant.name)
    assert lost == []
