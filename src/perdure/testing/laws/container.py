"""The laws of containers, which relate ``map``, ``bind``, ``lash`` and similar methods."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false
# A container of any class passes here as Any: its methods are looked up by name.

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar

import attrs
from hypothesis import strategies as st
from returns.result import Success

from perdure.testing.laws.law import Law, check_laws

C = TypeVar("C")

DEPTH = 5_000
"""How deep containers are nested to check that none overflows the stack."""

Function: TypeAlias = Callable[[Any], Any]
Sides: TypeAlias = tuple[Any, Any]
"""Two containers that must have the same result."""


def check_container(
    container: type[C],
    drawn: st.SearchStrategy[C],
    /,
    *,
    run: Callable[[C], object],
    depth: int = DEPTH,
    max_examples: int = 50,
) -> None:
    """Check that the operations of a container are consistent, for any content.

    Each law is checked if the container has its methods: ``map``, ``bind``, ``alt``, ``lash``, ``swap``, ``apply``,
    ``tap``, ``attempt``, ``compose_result``, ``on_exit``; ``from_value`` and ``from_failure`` make one.
    (``check_all_laws`` of ``returns`` accepts a ``map`` that does nothing.)

    Args:
        container: the class.
        drawn: containers of every shape, of whole numbers.
        run: returns the result of a container: two with the same result are equal.
        depth: how deep they are nested; 0 where they may overflow the stack.
        max_examples: the number of examples of each law.

    Raises:
        LawViolated: a law does not hold.
    """
    laws = _Laws(container, drawn, run)
    checked = [law for law in (*laws.of_values(), *laws.of_failures(), *laws.of_both()) if law is not None]
    check_laws(checked, max_examples=max_examples)
    if depth:
        deep = Law("containers may be nested to any depth", lambda _: laws.nested(depth))
        check_laws([deep], max_examples=1)


@attrs.frozen
class _Laws:
    """The laws of one container."""

    container: Any
    drawn: st.SearchStrategy[Any]
    run: Callable[[Any], object]

    def law(self, says: str, methods: str, sides: Callable[..., Sides]) -> Law | None:
        """Return the law that two containers have the same result; None if the container lacks one of its methods.

        Its parameters are drawn by their names: a container ``x`` or ``y``, a value ``v``, a function ``f`` or ``g`` to
        values, a function ``j`` or ``k`` to containers.
        """
        if not all(hasattr(self.container, name) for name in methods.split()):
            return None
        names = sides.__code__.co_varnames[: sides.__code__.co_argcount]

        def holds(data: st.DataObject) -> None:
            one, other = sides(*(data.draw(self._strategy(name), label=name) for name in names))
            assert self.run(one) == self.run(other)  # noqa: S101 - a law consists of an assertion

        return Law(says, holds)

    def _strategy(self, name: str) -> st.SearchStrategy[Any]:
        function = partial(st.functions, like=lambda _: None, pure=True)
        match name:
            case "x" | "y":
                return self.drawn
            case "f" | "g":
                return function(returns=st.integers())
            case "j" | "k":
                return function(returns=self.drawn)
            case _:
                return st.integers()

    def of_values(self) -> Iterator[Law | None]:
        unit: Function = self.container.from_value
        yield self.law("a second run is as the first", "", lambda x: (x, x))
        yield self.law("map of the identity changes nothing", "map", lambda x: (x.map(_identity), x))
        yield self.law("map twice is map of both", "map", lambda x, f, g: (x.map(f).map(g), x.map(_then(f, g))))
        yield self.law("map is bind, then from_value", "map bind", lambda x, f: (x.map(f), x.bind(_then(f, unit))))
        yield self.law("bind of a value is the function of it", "bind", lambda v, k: (unit(v).bind(k), k(v)))
        yield self.law("bind of from_value changes nothing", "bind", lambda x: (x.bind(unit), x))
        yield self.law("binds nest either way", "bind", lambda x, j, k: (x.bind(j).bind(k), x.bind(_binding(j, k))))
        yield self.law("apply is map", "apply map", lambda x, f: (x.apply(unit(f)), x.map(f)))
        yield self.law("tap keeps the value", "tap bind map", lambda x, k: (x.tap(k), x.bind(_keeping(k))))

    def of_failures(self) -> Iterator[Law | None]:
        if not hasattr(self.container, "from_failure"):
            return
        unit: Function = self.container.from_value
        fail: Function = self.container.from_failure
        yield self.law("alt is lash, then from_failure", "alt lash", lambda x, f: (x.alt(f), x.lash(_then(f, fail))))
        yield self.law("lash of a failure is the function of it", "lash", lambda v, k: (fail(v).lash(k), k(v)))
        yield self.law("lash of from_failure changes nothing", "lash", lambda x: (x.lash(fail), x))
        yield self.law("or_else is lash", "or_else", lambda x, k: (x.or_else(k), x.lash(k)))
        yield self.law("map_error is alt", "map_error", lambda x, f: (x.map_error(f), x.alt(f)))
        yield self.law("a value passes by lash", "lash", lambda v, k: (unit(v).lash(k), unit(v)))
        yield self.law("a failure passes by bind", "bind", lambda v, k: (fail(v).bind(k), fail(v)))
        yield self.law("a failure passes by map", "map", lambda v, f: (fail(v).map(f), fail(v)))
        yield self.law("two swaps change nothing", "swap", lambda x: (x.swap().swap(), x))
        yield self.law("a swapped value is a failure", "swap", lambda v: (unit(v).swap(), fail(v)))

    def of_both(self) -> Iterator[Law | None]:
        lift: Function | None = getattr(self.container, "from_result", None)
        fail: Function | None = getattr(self.container, "from_failure", None)
        if lift is not None:
            yield self.law("attempt, then from_result", "attempt bind", lambda x: (x.attempt().bind(lift), x))
        if fail is not None:
            either = partial(_either, fail)
            compose = "compose_result bind"
            yield self.law("compose_result is bind", compose, lambda x, k: (x.compose_result(either(k)), x.bind(k)))
        finalized = "a finalizer that succeeds changes nothing"
        yield self.law(finalized, "on_exit attempt", lambda x, y: (x.on_exit(y.attempt()), x))

    def nested(self, depth: int) -> None:
        """Check that nested binds do not overflow the stack."""
        unit: Function = self.container.from_value
        built: Any = unit(0)
        for _ in range(depth):
            built = built.bind(lambda value: unit(value + 1))
        try:
            deep, flat = self.run(built), self.run(unit(depth))
        except RecursionError as overflow:
            raise AssertionError(f"{depth} binds overflow the stack: {overflow}") from overflow
        assert deep == flat, f"{depth} binds came to {deep!r}"  # noqa: S101 - as above


def _identity(value: Any) -> Any:
    return value


def _then(first: Function, second: Function) -> Function:
    return lambda value: second(first(value))


def _binding(first: Function, second: Function) -> Function:
    return lambda value: first(value).bind(second)


def _keeping(function: Function) -> Function:
    return lambda value: function(value).map(lambda _: value)


def _either(fail: Function, continuation: Function) -> Function:
    return lambda result: continuation(result.unwrap()) if isinstance(result, Success) else fail(result.failure())
