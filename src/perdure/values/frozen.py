"""The declaration of values that few processes compare, hash or print."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen
else:
    from collections.abc import Callable
    from functools import partial
    from typing import Any

    import attrs

    _METHODS = {"__eq__": "eq", "__hash__": "eq", "__repr__": "repr"}

    def frozen(cls: type | None = None, /, **options: bool) -> Any:
        """Declare a class as ``attrs.frozen`` does, and postpone its ``__eq__``, ``__hash__`` and ``__repr__``.

        attrs generates them when one is first called: to generate them takes most of the time of a declaration, and a
        process that defines jobs calls almost none. From then on the class has the methods of ``attrs.frozen``.

        Args:
            cls: the class; None if there are options.
            options: those of ``attrs.frozen``.
        """
        if cls is None:
            return partial(frozen, **options)
        postponed = [name for name, wanted in _METHODS.items() if options.get(wanted, True) and name not in vars(cls)]
        declared = attrs.frozen(cls, **(options | {"eq": False, "repr": False}))
        for name in postponed:
            setattr(declared, name, _generates_first(declared, name, postponed))
        return declared

    def _generates_first(cls: type, name: str, postponed: list[str]) -> Callable[..., Any]:
        """Return a method that replaces itself and the other postponed ones by those of attrs, and calls its own."""

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


__all__ = ["frozen"]
