"""Value class declarations: `frozen` for values that users and stores keep, `turn_value` for the values inside a turn.

Both postpone or leave out what attrs would generate, because most processes need it late or never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["frozen", "made_late", "turn_value"]


T = TypeVar("T")


def made_late(cls: type[T], name: str, make: Callable[[T], object]) -> None:
    """Let a slot's value be made when it is first read, if it was not set."""
    slot: Any = vars(cls)[name]

    def read(self: T) -> object:
        try:
            return slot.__get__(self)
        except AttributeError:
            value = make(self)
            slot.__set__(self, value)
            return value

    # A property of this slot alone: a `__getattr__` would slow every read of every slot.
    setattr(cls, name, property(read, slot.__set__))


if TYPE_CHECKING:
    from attrs import frozen
else:
    from functools import partial

    import attrs

    _METHODS = {"__eq__": "eq", "__hash__": "eq", "__repr__": "repr"}

    def frozen(cls: type | None = None, /, **options: bool) -> Any:
        """Declare a class as ``attrs.frozen`` does, and postpone its ``__eq__``, ``__hash__`` and ``__repr__``.

        attrs generates them when one is first called: generating them takes most of a declaration's time, and a process
        that defines jobs calls almost none. From then on the class has the ``attrs.frozen`` methods.

        Args:
            cls: the class. None if there are options.
            options: as for ``attrs.frozen``.
        """
        if cls is None:
            return partial(frozen, **options)
        postponed = [name for name, wanted in _METHODS.items() if options.get(wanted, True) and name not in vars(cls)]
        declared = attrs.frozen(cls, **(options | {"eq": False, "repr": False}))
        for name in postponed:
            setattr(declared, name, _generates_first(declared, name, postponed))
        return declared

    def _generates_first(cls: type, name: str, postponed: list[str]) -> Callable[..., Any]:
        """Return a method that replaces itself and the other postponed ones by the attrs methods, and calls its own."""

        def generate_and_call(self: object, *others: object) -> Any:
            fields = {
                each.name: attrs.field(init=False, eq=each.eq_key or each.eq, hash=each.hash, repr=each.repr)
                for each in attrs.fields(cls)
            }
            generated = attrs.make_class(cls.__name__, fields, frozen=True, init=False)
            for each in postponed:
                setattr(cls, each, getattr(generated, each))
            return getattr(generated, name)(self, *others)

        return generate_and_call


if TYPE_CHECKING:
    from attrs import frozen as turn_value
else:
    from functools import partial

    import attrs

    turn_value = partial(attrs.define, unsafe_hash=True)
"""Like ``attrs.frozen``, but only type checkers enforce it.

A turn makes some thirty values with some ninety fields. A ``__setattr__`` that refuses adds 55 ns to each field, a
sixth of a whole request on the memory store. Values that users and stores keep (answers, events, errors, policies,
definitions) are ``attrs.frozen`` as usual.
"""
