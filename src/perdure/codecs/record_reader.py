"""The reader for a class with fields, compiled by cattrs for the class.

Programs that only define jobs read no JSON: this module, and cattrs, are loaded with the first reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override

from perdure.codecs.schema import Read, Schema

# Every field has its own hooks: the converter only passes cattrs' settings to the generated code.
_CONVERTER: Final = Converter(detailed_validation=False, forbid_extra_keys=True)


def record_reader(form: Any, schemas: Mapping[str, Schema]) -> Read:
    """Return a class's reader: from a dict of its fields to an instance. It refuses unknown and missing keys.

    Args:
        form: the class, with its arguments if it is generic.
        schemas: each field's schema.
    """
    hooks: dict[str, Any] = {field: override(struct_hook=schema.read) for field, schema in schemas.items()}
    return make_dict_structure_fn(form, _CONVERTER, **hooks)
