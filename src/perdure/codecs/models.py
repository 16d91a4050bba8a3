"""Pydantic models and msgspec structs as classes with fields.

Loaded with the first such class. The class's own library validates each instance: this module translates refusals, and
reads declarations.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and the libraries are read through the attributes of the user's classes.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, get_args, get_origin

from perdure.codecs.json_schema import Unsupported
from perdure.codecs.schema import Declaration, Fault, Field, FieldProblem, Read, RefusedByClass, Schema, StoredAs
from perdure.values.secret import Secret, pydantic_hints

_CHECKS: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
"""The constraints in a ``msgspec.Meta``."""


def declaration(cls: Any, path: str) -> Declaration:
    """Return the fields that a pydantic model or a msgspec struct declares.

    Args:
        cls: the class, without its type arguments.
        path: its path, for the error message.

    Raises:
        Unsupported: an annotation cannot be resolved, or a value's part would not be stored.
    """
    return _of_struct(cls, path) if hasattr(cls, "__struct_fields__") else _of_pydantic(cls, path)


def record_reader(
    name: str, declared: Declaration, build: Callable[[dict[str, Any]], Any], schemas: Mapping[str, Schema]
) -> Read:
    """Return a model's reader. It refuses unknown and missing keys, and values that the model refuses.

    Args:
        name: the type's readable name.
        declared: the class.
        build: builds an instance from its fields.
        schemas: each field's schema.
    """
    reads = {key: schema.read for key, schema in schemas.items()}
    required = {field.name for field in declared.fields if field.required}

    def read(data: Any, _: Any = None) -> Any:
        if type(data) is dict and required <= data.keys():
            return build({key: reads[key](value, None) for key, value in data.items()})
        raise Fault(name, data)

    return read


def _unresolved(cls: Any, path: str, error: Exception) -> Unsupported:
    return Unsupported(
        path, cls, f"annotations that resolve ({error}): declare the types at module level, imported at run time"
    )


# ---------------------------------------------------------------- pydantic
def _of_pydantic(cls: Any, path: str) -> Declaration:
    # A model that names a later class is completed at its first use, which may be here.
    if not cls.__pydantic_complete__:
        try:
            cls.model_rebuild()
        except Exception as error:
            raise _unresolved(cls, path, error) from error
    config: Mapping[str, Any] = cls.model_config
    if config.get("extra") == "allow":
        raise Unsupported(path, cls, "a model without extra='allow': members without a declared type are not stored")
    if getattr(cls, "__pydantic_root_model__", False):
        raise Unsupported(path, cls, "a model with named fields: a RootModel has none; declare its root type itself")
    if private := cls.__private_attributes__:
        raise Unsupported(
            f"{path}.{next(iter(private))}", cls, "a model without private attributes: they would not be stored"
        )
    hints, infos = pydantic_hints(cls), cls.__pydantic_fields__
    fields = tuple(
        Field(name, hints[name], info.is_required(), None if info.is_required() else _default(info))
        for name, info in infos.items()
    )
    frozen = bool(config.get("frozen")) or (bool(infos) and all(info.frozen for info in infos.values()))
    # Not proven: its core may convert, and a copy with changes is not validated.
    return Declaration(cls, fields, proven=False, frozen=frozen, build=_validated(cls))


def _default(info: Any) -> Callable[[], Any] | None:
    # A factory that takes the validated fields has no value that is known without them.
    if info.default_factory_takes_validated_data:
        return None
    return lambda: info.get_default(call_default_factory=True)


def _validated(cls: Any) -> Callable[[dict[str, Any]], Any]:
    def build(fields: dict[str, Any]) -> Any:
        try:
            # By names: aliases are for the JSON of an interface, and the stored JSON survives a change of them.
            return cls.model_validate(fields, by_alias=False, by_name=True)
        except ValueError as error:
            raise RefusedByClass(tuple(_pydantic_problems(error))) from error

    return build


def _pydantic_problems(error: Any) -> Iterator[FieldProblem]:
    listed = getattr(error, "errors", None)
    if listed is None:  # a hook raised it, outside the validation
        yield FieldProblem("", "", str(error))
        return
    for each in listed(include_url=False, include_context=False, include_input=False):
        field, *inside = each["loc"] or ("",)
        place = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in inside)
        yield FieldProblem(str(field), place, each["msg"])


def stored_as(cls: Any) -> StoredAs[Any, Any] | None:
    """Return how a class in pydantic is stored. None for one that has no other form.

    Args:
        cls: the class, which is no model.
    """
    if hasattr(cls, "get_secret_value"):
        # Another class of secrets has a value of a type that is not known here.
        if cls.__name__ not in _SECRETS:
            return None
        return StoredAs(_SECRETS[cls.__name__], read=cls, write=_secret_of)
    if hasattr(cls, "unicode_string"):  # of AnyUrl, HttpUrl, PostgresDsn …
        return StoredAs(str, read=cls, write=str)
    return None


def _secret_of(value: Any) -> Any:
    return value.get_secret_value()


_SECRETS: Final[Mapping[str, Any]] = {"SecretStr": Annotated[str, Secret], "SecretBytes": Annotated[bytes, Secret]}

_SAME_AS: Final[Mapping[str, type]] = {"AwareDatetime": datetime, "EmailStr": str}
# Not the classes that compare with the clock, such as FutureDate: they would refuse a stored value later.


def same_as(cls: Any) -> Any:
    """Return the class that a class in pydantic stands for in an annotation, or the class itself."""
    return _SAME_AS.get(cls.__name__, cls)


# ---------------------------------------------------------------- msgspec
# Imported inside the functions: an engine loads this module when it opens, and the library may not be installed.
def _of_struct(cls: Any, path: str) -> Declaration:
    import msgspec  # noqa: PLC0415 - as above

    try:
        given = msgspec.structs.fields(cls)
    except Exception as error:
        raise _unresolved(cls, path, error) from error
    fields = tuple(Field(each.name, each.type, each.required, _struct_default(each)) for each in given)
    checked = {each.name: each.type for each in given if _has_checks(each.type)}
    config = cls.__struct_config__
    return Declaration(
        cls,
        fields,
        proven=not checked and not hasattr(cls, "__post_init__"),
        frozen=config.frozen,
        build=_built(cls, checked),
        tag=config.tag if isinstance(config.tag, str) else None,
    )


def _struct_default(field: Any) -> Callable[[], Any] | None:
    import msgspec  # noqa: PLC0415 - as above

    if field.default_factory is not msgspec.NODEFAULT:
        factory: Callable[[], Any] = field.default_factory
        return factory
    return None if field.default is msgspec.NODEFAULT else lambda: field.default


def _has_checks(form: Any) -> bool:
    """Return whether a type has constraints. Nested structs check themselves."""
    import msgspec  # noqa: PLC0415 - as above

    marks = form.__metadata__ if get_origin(form) is Annotated else ()
    if any(isinstance(mark, msgspec.Meta) and _demands(mark) for mark in marks):
        return True
    return any(_has_checks(each) for each in get_args(form))


def _demands(mark: Any) -> bool:
    return any(getattr(mark, check) is not None for check in _CHECKS)


def _built(cls: Any, checked: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
    if not checked:
        return lambda fields: cls(**fields)
    import msgspec  # noqa: PLC0415 - as above

    def build(fields: dict[str, Any]) -> Any:
        problems = list[FieldProblem]()
        for name in (name for name in checked if name in fields):
            try:
                # A struct's own __init__ checks nothing: msgspec does, when it converts.
                msgspec.convert(fields[name], checked[name])
            except msgspec.ValidationError as error:
                text, _, place = str(error).partition(" - at `$")
                problems.append(FieldProblem(name, place.rstrip("`"), text))
        if problems:
            raise RefusedByClass(problems)
        return cls(**fields)

    return build
