"""Classes with fields: attrs classes, dataclasses, ``NamedTuple`` and ``TypedDict``. All are JSON objects."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from perdure.codecs.fields import Declaration, is_namedtuple
from perdure.codecs.schema import LONGEST, Fault, Part, Problem, Read, Schema, Write
from perdure.values.excerpt import excerpt

RESERVED: Final = frozenset({"attrs", "cl", "converter", "typevar_map"})
"""Field names that cattrs' code generator keeps for its own arguments."""

# Every field brings its own hooks: the converter only carries cattrs' settings into the generated code.
_CONVERTER: Final = Converter(detailed_validation=False, forbid_extra_keys=True)

_DICT = frozenset({dict})


def record_shape(form: Any, name: str, declared: Declaration, shapes: Mapping[str, Schema]) -> Schema:
    """Read and write one class by its fields.

    Args:
        form: the class, with its arguments if it is generic.
        name: the type, readable.
        declared: the class and its fields.
        shapes: the shape of each field.

    Returns:
        Its shape. Reading refuses unknown keys and missing ones without a default; writing refuses every other class,
        subclasses too, because what they add would be lost.
    """
    cls = declared.cls
    if declared.typed_dict:
        return _typeddict_shape(name, declared, shapes)
    read, write = _namedtuple(cls, shapes) if is_namedtuple(cls) else _generated(form, shapes)

    def read_object(data: Any, _: Any = None) -> Any:
        if type(data) is dict:
            return read(data, None)
        raise Fault(name, data)

    def write_exact(value: Any) -> Any:
        if type(value) is cls:
            return write(value)
        raise Fault(name, value)

    def write_parts(value: Any) -> Iterator[Part | Problem]:
        if type(value) is cls:
            for field in declared.fields:
                if hasattr(value, field.name):
                    yield Part(f".{field.name}", shapes[field.name], getattr(value, field.name))
                else:
                    yield Problem(f".{field.name}", "was never set")

    return Schema(
        name=name,
        kinds=_DICT,
        classes=frozenset({cls}),
        read=read_object,
        write=write_exact,
        read_parts=_object_parts(declared, shapes),
        write_parts=write_parts,
    )


def _generated(form: Any, shapes: Mapping[str, Schema]) -> tuple[Read, Write]:
    hooks: dict[str, Any] = {
        name: override(struct_hook=shape.read, unstruct_hook=shape.write) for name, shape in shapes.items()
    }
    read: Any = make_dict_structure_fn(form, _CONVERTER, **hooks)
    return read, make_dict_unstructure_fn(form, _CONVERTER, **hooks)


def _namedtuple(cls: Any, shapes: Mapping[str, Schema]) -> tuple[Read, Write]:
    reads = {name: shape.read for name, shape in shapes.items()}
    writes = tuple((name, shape.write) for name, shape in shapes.items())

    def read(data: Any, _: Any) -> Any:
        return cls(**{name: reads[name](value, None) for name, value in data.items()})

    def write(value: Any) -> dict[str, Any]:
        return {name: write(each) for (name, write), each in zip(writes, value, strict=True)}

    return read, write


def _object_parts(declared: Declaration, shapes: Mapping[str, Schema]) -> Callable[[Any], Iterator[Part | Problem]]:
    names = {field.name for field in declared.fields}
    known = ", ".join(field.name for field in declared.fields) or "no keys"

    def parts(data: Any) -> Iterator[Part | Problem]:
        if type(data) is not dict:
            return
        for field in declared.fields:
            if field.name in data:
                yield Part(f".{field.name}", shapes[field.name], data[field.name])
            elif field.required:
                yield Problem(f".{field.name}", f"missing; expected {shapes[field.name].name}")
        for key in data:
            if key not in names:
                yield Problem(f"[{excerpt(key, LONGEST)}]", f"unknown key; {declared.cls.__name__} has {known}")

    return parts


def _typeddict_shape(name: str, declared: Declaration, shapes: Mapping[str, Schema]) -> Schema:
    required = {field.name for field in declared.fields if field.required}
    reads = {key: shape.read for key, shape in shapes.items()}
    writes = {key: shape.write for key, shape in shapes.items()}

    def read(data: Any, _: Any = None) -> dict[str, Any]:
        if type(data) is dict and required <= data.keys():
            return {key: reads[key](value, None) for key, value in data.items()}
        raise Fault(name, data)

    def write(value: Any) -> dict[str, Any]:
        if type(value) is dict and required <= value.keys():
            return {key: writes[key](each) for key, each in value.items()}
        raise Fault(name, value)

    parts = _object_parts(declared, shapes)
    return Schema(name=name, kinds=_DICT, classes=_DICT, read=read, write=write, read_parts=parts, write_parts=parts)
