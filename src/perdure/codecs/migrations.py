"""The shapes that a job's state has had: the oldest that is still read, and how each became the next."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Types of every shape pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast, get_origin, get_type_hints

import attrs
from typing_extensions import TypeForm

from perdure.codecs.grammar import flattened, stripped
from perdure.codecs.names import describe_type
from perdure.values.errors import DefinitionError

S = TypeVar("S")
T = TypeVar("T")

MAX_VERSION: Final = 1_000_000

_WHAT: Final = "versions of a state"


@attrs.frozen(kw_only=True)
class Upcast:
    """One step from a version to the next.

    Attributes:
        name: the function's name.
        function: gives the next shape of a value.
        gives: the type of what it gives.
    """

    name: str
    function: Callable[[Any], Any]  # from the type before to `gives`
    gives: Any  # a type form


@attrs.frozen(init=False, eq=False)
class Migrations(Generic[S]):
    """Every shape of a job's state that may still be stored, the oldest first; ``S`` is the newest.

    ``Migrations(OrderV1).then(with_currency).then(with_lines)`` says that rows of version 1 hold an ``OrderV1``, that
    ``with_currency`` makes of it what version 2 holds, and ``with_lines`` what the code holds now, version 3. Each
    function takes what the one before gives: a checker sees one that does not fit.

    Attributes:
        number: the version of the oldest shape.
        oldest: its type.
        upcasts: the steps from there to the newest, in order.

    Args:
        oldest: the type of the oldest shape.
        number: its version. It is above 1 once still older shapes are not read any more.

    Raises:
        DefinitionError: the number is not a whole number from 1 to 1,000,000.
    """

    number: int
    oldest: Any  # a type form
    upcasts: tuple[Upcast, ...]

    def __init__(self, oldest: TypeForm[S], /, *, number: int = 1) -> None:
        if type(number) is not int or not 1 <= number <= MAX_VERSION:
            raise DefinitionError(f"{_WHAT}: number", number, f"the oldest version, from 1 to {MAX_VERSION}")
        cast("Any", self).__attrs_init__(number, oldest, ())

    def then(self, upcast: Callable[[S], T], /) -> Migrations[T]:
        """Add the next version.

        Args:
            upcast: a pure function of a value of the newest version so far. Its annotations say what it takes and
                gives: the types at run time are read from them.

        Raises:
            DefinitionError: it is no function of one argument, its annotations are missing, or it takes another type.
        """
        step = _upcast(upcast, self.newest)
        following: Migrations[Any] = Migrations(self.oldest, number=self.number)
        object.__setattr__(following, "upcasts", (*self.upcasts, step))
        return following

    @property
    def newest(self) -> object:
        """The type of the newest version."""
        return self.upcasts[-1].gives if self.upcasts else self.oldest

    @property
    def present(self) -> int:
        """The number of the newest version: what the code writes."""
        return self.number + len(self.upcasts)


def is_same_form(one: object, other: object) -> bool:
    """Whether two type forms stand for the same type, aliases and the order of a union apart."""
    return stripped(one) == stripped(other) or set(flattened(one)) == set(flattened(other))


def _upcast(function: object, takes: object) -> Upcast:
    name = getattr(function, "__qualname__", None) or repr(function)
    what = f"{_WHAT}: {name}"
    if not callable(function) or isinstance(function, type) or inspect.iscoroutinefunction(function):
        raise DefinitionError(what, function, "a plain function: def to_v2(old: V1) -> V2")
    given, gives = _annotations(function, what)
    if not _takes(given, takes):
        expected = f"a function of {describe_type(cast('Any', takes))}, which is what the version before it holds"
        raise DefinitionError(what, f"a function of {describe_type(given)}", expected)
    return Upcast(name=name, function=function, gives=gives)


def _annotations(function: Callable[..., object], what: str) -> tuple[Any, Any]:
    """Give the types of the one argument and of the answer."""
    expected = "annotations that resolve, at module level: def to_v2(old: V1) -> V2"
    try:
        hints, signature = get_type_hints(function), inspect.signature(function)
        signature.bind(None)
    except (NameError, TypeError, ValueError, AttributeError) as error:
        raise DefinitionError(what, str(error), f"a function of one argument with {expected}") from error
    argument = next(iter(signature.parameters))
    if argument not in hints or "return" not in hints:
        raise DefinitionError(what, f"{argument!r} and its answer, with annotations for {sorted(hints)}", expected)
    return hints[argument], hints["return"]


def _takes(given: object, form: object) -> bool:
    """Whether an annotation takes every value of a type, as far as classes tell."""
    members = tuple(flattened(given))
    return all(any(_is_member(each, member) for member in members) for each in flattened(form))


def _is_member(form: Any, member: Any) -> bool:
    if form == member or member in (Any, object) or isinstance(member, TypeVar):
        return True
    outer: Any = get_origin(form) or form
    wanted: Any = get_origin(member) or member
    return isinstance(outer, type) and isinstance(wanted, type) and issubclass(outer, wanted)
