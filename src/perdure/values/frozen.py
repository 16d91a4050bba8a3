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

        attrs generates each of them when it is first called: to generate them takes most of the time of a declaration,
        and a process that defines jobs calls almost none. From then on the class has the methods of ``attrs.frozen``.

        Args:
            cls: the class; None if there are options.
            options: those of ``attrs.frozen``.
        """
        if cls is None:
            return partial(frozen, **options)
        postponed = [name for name, wanted in _METHODS.items() if options.get(wanted, True) and name not in vars(cls)]
        declared = attrs.frozen(cls, **(options | {"eq": False, "repr": False}))
        for name in postponed:
            setattr(declared, name, _generated_at_first_call(declared, name))
        return declared

    def _generated_at_first_call(cls: type, name: str) -> Callable[..., Any]:
        def generate_and_call(self: object, *others: object) -> Any:
            method = getattr(_generated(cls), name)
            setattr(cls, name, method)
            return method(self, *others)

        return generate_and_call

    def _generated(cls: type) -> type:
        """Return another class with the same fields, which has the methods."""
        fields = {
            each.name: attrs.field(init=False, eq=each.eq_key or each.eq, hash=each.hash, repr=each.repr)
            for each in attrs.fields(cls)
        }
        return attrs.make_class(cls.__name__, fields, frozen=True, init=False)


__all__ = ["frozen"]
