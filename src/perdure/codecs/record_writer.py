"""The writer of a class with fields, compiled for the class as attrs and cattrs compile their functions.

Most fields of large states are plain texts and numbers: their checks are written out, since a call for each costs more
than the check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from perdure.codecs.scalars import INTEGERS, SCALARS
from perdure.codecs.schema import Fault, Schema, Write

_FAULTY: Final[Mapping[Write, str]] = {
    SCALARS[str].write: "type({0}) is not str",
    SCALARS[int].write: f"type({{0}}) is not int or not {INTEGERS.start} <= {{0}} < {INTEGERS.stop}",
    SCALARS[bool].write: "{0} is not True and {0} is not False",
    SCALARS[type(None)].write: "{0} is not None",
}
"""When the writer of a scalar refuses a value, as an expression; such a writer returns all others unchanged."""


def record_writer(cls: type, name: str, schemas: Mapping[str, Schema]) -> Write:
    """Return the writer of a class: a dict of the written fields. It refuses every other class, also subclasses.

    Args:
        cls: the class.
        name: the type's readable name.
        schemas: the schema of each field.
    """
    known: dict[str, Any] = {"cls": cls, "name": name, "Fault": Fault}
    known |= {f"write_{at}": schema.write for at, schema in enumerate(schemas.values())}
    exec("\n".join(_lines(schemas)), known)  # noqa: S102 - the names of fields are identifiers
    return cast("Write", known["write"])


def _lines(schemas: Mapping[str, Schema]) -> Iterator[str]:
    yield "def write(value):"
    yield "    if type(value) is not cls: raise Fault(name, value)"
    for at, (name, schema) in enumerate(schemas.items()):
        faulty = _FAULTY.get(schema.write)
        if faulty is None:
            yield f"    field_{at} = write_{at}(value.{name})"
        else:
            yield f"    field_{at} = value.{name}"
            yield f"    if {faulty.format(f'field_{at}')}: write_{at}(field_{at})"  # which raises
    yield f"    return {{{', '.join(f'{name!r}: field_{at}' for at, name in enumerate(schemas))}}}"
