"""Laws for containers, program combinators and codecs: one call checks yours. And the faults of a run, explored.

A law is a sentence, and a property that Hypothesis tries to violate. The library's own containers, combinators and
codecs are checked by the same laws. Faults are every single one in order, or drawn plans with several, and the repeats
after each.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false
# A container of any class passes here as Any: its methods are looked up by name.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import timedelta
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import attrs
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import ResolutionFailed
from returns.context import RequiresContextFutureResult
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure.codecs.json_schema import describe_type
from perdure.programs import Do, Program, Raised, bracket, effect, fail, halt, lift, program, sleep, succeed
from perdure.programs.effect_results import error_declared_by
from perdure.testing.fault import NO_FAULTS, Crash, Fail, Fault, Faults, Hang, Raise
from perdure.testing.hooks import HookContext
from perdure.testing.simulated_run import AnySimulated, Changes, EffectStep, Hung, ProcessDied, Simulated, difference
from perdure.testing.simulator import simulate
from perdure.testing.typed import NoSample, examples_of, from_type
from perdure.values.errors import InvalidInput, RunTimeout

__all__ = [
    "AnyCodec",
    "Combinator",
    "Law",
    "LawViolated",
    "check_codec",
    "check_combinator",
    "check_container",
    "check_laws",
    "programs",
    "refuses_or_reads",
    "writes_what_it_reads",
]


MAX_FAULTS = 3
"""The default maximum number of faults in a drawn plan."""


Errors: TypeAlias = Mapping[str, Sequence[object]]
"""The errors of effects, by the name of the effect, for declared types that cannot be constructed."""

NO_ERRORS: Final[Errors] = {}


def every_fault(clean: Simulated[Any, Any, Any], /, *, errors: Errors = NO_ERRORS) -> tuple[Faults, ...]:
    """Return all plans with one fault: each fault kind for each effect call in a run.

    For each call: a crash before and after it. An undeclared exception, a lost result and no result, before and after,
    and its declared errors, each type's simplest. The same run gives the same plans in the same order.

    Args:
        clean: a run without faults, whose calls the faults affect.
        errors: errors for some effects, by name, such as ``{"charge": [Declined("no money")]}``. By default the
            simplest for each declared type. An effect without annotations declares none.

    Returns:
        Plans for `simulate`, such as ``(Crash('send_mail', when='after'),)``.

    Raises:
        NoSample: no error can be constructed for a declared type. Pass one in ``errors``.
    """
    return tuple((fault,) for step in clean.effects for fault in _faults_at(step, errors))


def _faults_at(step: EffectStep, errors: Errors) -> Iterator[Fault]:
    name, call = step.name, step.call
    yield Crash(name, when="before", call=call)
    yield Crash(name, when="after", call=call)
    yield Raise(name, when="before", call=call)
    yield Raise(name, when="after", call=call)
    yield Hang(name, when="before", call=call)
    yield Hang(name, when="after", call=call)
    for error in _sample_errors(step) if errors.get(name) is None else errors[name]:
        yield Fail(name, error, call=call)


def _sample_errors(step: EffectStep) -> tuple[object, ...]:
    declared = error_declared_by(step.instruction)
    try:
        return () if declared is None else examples_of(declared)
    except NoSample as none:
        raise attrs.evolve(none, reason=_say_which(step, none.reason)) from none


def _say_which(step: EffectStep, reason: str) -> str:
    return f"{reason}; it is an error of {step.name}: pass errors={{{step.name!r}: [...]}}"


def faults(
    clean: Simulated[Any, Any, Any], /, *, at_most: int = MAX_FAULTS, errors: Errors = NO_ERRORS
) -> st.SearchStrategy[Faults]:
    """Draw plans with several faults for a run's calls: at most one for each call, with drawn errors.

    Args:
        clean: a run without faults, whose calls the faults affect.
        at_most: the maximum number of faults in a plan.
        errors: errors for some effects, by name. By default they are drawn from their declared types.

    Raises:
        NoSample: a declared type does not describe its values. Pass some in ``errors``.
    """
    calls = clean.effects
    if not calls:
        return st.just(())
    at_call = tuple(_drawn(step, errors) for step in calls)
    one = st.sampled_from(range(len(calls))).flatmap(at_call.__getitem__)
    drawn = st.lists(one, max_size=min(at_most, len(calls)), unique_by=lambda fault: (fault.at, fault.call))
    return drawn.map(tuple)


def _drawn(step: EffectStep, errors: Errors) -> st.SearchStrategy[Fault]:
    name, call = st.just(step.name), st.just(step.call)
    when = st.sampled_from(("before", "after"))
    ways: list[st.SearchStrategy[Fault]] = [
        st.builds(Fail, name, drawn, when=when, call=call) for drawn in _drawn_errors(step, errors)
    ]
    ways += [st.builds(kind, name, when=when, call=call) for kind in (Hang, Raise, Crash)]
    return st.one_of(ways)


def _drawn_errors(step: EffectStep, errors: Errors) -> Iterator[st.SearchStrategy[Any]]:
    given, declared = errors.get(step.name), error_declared_by(step.instruction)
    if given is not None:
        yield st.sampled_from(given) if given else st.nothing()
    elif declared is not None:
        drawn: st.SearchStrategy[Any] = from_type(declared)
        try:
            drawn.validate()
        except ResolutionFailed as failed:
            raise NoSample(describe_type(declared), _say_which(step, str(failed))) from failed
        yield drawn


A = TypeVar("A")
E = TypeVar("E")
S = TypeVar("S")
C = TypeVar("C", bound=Any)  # of a kind's own context


@attrs.frozen
class RedeliveryResult(Generic[A, E, S]):
    """A run with its repeats.

    Attributes:
        runs: all runs, in order.
    """

    runs: tuple[Simulated[A, E, S], ...]

    @property
    def last(self) -> Simulated[A, E, S]:
        """The last run."""
        return self.runs[-1]

    @property
    def committed(self) -> Changes[S] | None:
        """The stored changes: the draft from the run that succeeded, or None."""
        return self.last.committed

    def reached(self, name: str) -> tuple[EffectStep, ...]:
        """Return the effect's calls that reached its service, over all runs, in order.

        Args:
            name: the `effect` function's name.
        """
        return tuple(step for run in self.runs for step in run.calls(name) if step.reached)

    def __repr__(self) -> str:
        runs = (f"run {number}:\n{run!r}" for number, run in enumerate(self.runs, start=1))
        return "\n".join(runs)


def run_with_redelivery(
    run: Callable[[HookContext[C, S], Faults], Simulated[A, E, S]],
    on: HookContext[C, S],
    /,
    *,
    faults: Faults = NO_FAULTS,
    at_most: int = 3,
) -> RedeliveryResult[A, E, S]:
    """Run a hook with a fault plan, and repeat it without faults until it succeeds, as an engine would.

    Each repeat can detect that it is one: ``ctx.delivery`` counts up after a crash, ``ctx.attempt`` after any other
    failure. If `run` keeps the services, they are the same in all runs: their effects are not undone.

    Args:
        run: simulates the hook with a context and a fault plan.
        on: the first run's context.
        faults: the first run's plan.
        at_most: the maximum number of runs, for a program that fails without a fault.
    """
    runs = [run(on, faults)]
    while isinstance(runs[-1].exit, Failure | Raised | ProcessDied | Hung) and len(runs) < at_most:
        on = on.again(runs[-1])
        runs.append(run(on, NO_FAULTS))
    return RedeliveryResult(tuple(runs))


def assert_atomic(clean: Simulated[Any, Any, S], seen: Simulated[Any, Any, S], /) -> None:
    """Check that a run stored the same changes as the clean run, or none.

    Args:
        clean: the run without faults.
        seen: a run with faults.

    Raises:
        AssertionError: it stored other changes. The message shows the first difference.
    """
    if seen.committed is not None and seen.committed != clean.committed:
        raise AssertionError("\n".join(["committed part of the draft", *difference(clean, seen)]))


class LawViolated(AssertionError):
    """A law does not hold. The cause is the example that violates it, as Hypothesis found and shrunk it.

    Attributes:
        law: the sentence.
    """

    def __init__(self, law: str, found: AssertionError) -> None:
        super().__init__(f"{law}\n{found}")
        self.law = law


@attrs.frozen
class Law:
    """A property that always holds.

    Attributes:
        says: the sentence.
        holds: draws an example and raises an ``AssertionError`` if it violates the law.
    """

    says: str
    holds: Callable[[st.DataObject], None]


def check_laws(laws: Iterable[Law], *, max_examples: int) -> None:
    """Try to violate each law.

    Args:
        laws: the laws.
        max_examples: the number of examples for each law.

    Raises:
        LawViolated: a law does not hold.
    """
    for law in laws:
        try:
            _tried(law, max_examples)
        except AssertionError as found:
            raise LawViolated(law.says, found) from found


def _tried(law: Law, max_examples: int) -> None:
    health = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.nested_given)

    @settings(max_examples=max_examples, deadline=None, suppress_health_check=health)
    @given(st.data())
    def try_to_break(data: st.DataObject) -> None:
        law.holds(data)

    try_to_break()


T = TypeVar("T")


class AnyCodec(Protocol[T]):
    """Encodes and decodes one type's values."""

    def encode(self, value: T) -> bytes:
        """Encode a value, or raise ``InvalidInput``."""
        ...

    def decode(self, data: bytes) -> T:
        """Decode a value, or raise ``InvalidInput``."""
        ...


def check_codec(codec: AnyCodec[T], values: st.SearchStrategy[T], /, *, max_examples: int = 100) -> None:
    """Check that a codec keeps the values it encodes.

    Args:
        codec: the codec.
        values: values that it must accept, such as ``from_type(Order)``.
        max_examples: the number of examples for each law.

    Raises:
        LawViolated: a law does not hold.
    """
    anything = _anything(codec, values)
    laws = (
        Law("an encoded value decodes unchanged", lambda data: writes_what_it_reads(codec, data.draw(values))),
        Law("bytes are a value, or InvalidInput", lambda data: refuses_or_reads(codec, data.draw(anything))),
    )
    check_laws(laws, max_examples=max_examples)


def writes_what_it_reads(codec: AnyCodec[T], value: T) -> None:
    """Check that a value decodes to an equal value with the same class, which is encoded to the same bytes.

    Raises:
        AssertionError: it does not.
    """
    data = codec.encode(value)
    orjson.loads(data)
    back = codec.decode(data)
    assert back == value, f"{value!r} was encoded as {data!r} and decoded as {back!r}"  # noqa: S101 - a law
    assert type(back) is type(value), f"a {type(value).__name__} was decoded as a {type(back).__name__}"  # noqa: S101
    again = codec.encode(back)
    assert again == data, f"it was encoded as {data!r}, and the second time as {again!r}"  # noqa: S101


def refuses_or_reads(codec: AnyCodec[Any], data: bytes) -> None:
    """Check that bytes are refused with ``InvalidInput``, or decoded to a value that round-trips.

    Raises:
        AssertionError: neither is the case.
    """
    try:
        value = codec.decode(data)
    except InvalidInput:
        return
    except Exception as other:
        raise AssertionError(f"{data!r} was refused with {other!r} instead of InvalidInput") from other
    assert codec.decode(codec.encode(value)) == value, f"{data!r} decodes to {value!r}, which does not round-trip"  # noqa: S101


_NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _anything(codec: AnyCodec[T], values: st.SearchStrategy[T]) -> st.SearchStrategy[bytes]:
    """Draw bytes: any, any JSON, and a value's JSON with one part replaced."""
    written = values.map(lambda value: orjson.loads(codec.encode(value)))
    damaged = st.tuples(written, st.integers(0, 5), _JSON).map(lambda drawn: _damaged(*drawn))
    return st.binary(max_size=8) | _JSON.map(orjson.dumps) | damaged.map(orjson.dumps)


def _damaged(document: Any, place: int, other: object) -> object:  # any JSON
    """Replace one part of a document."""
    if not document or not isinstance(document, dict | list):
        return other
    keys: list[Any] = sorted(document) if isinstance(document, dict) else [*range(len(document))]  # pyright: ignore[reportUnknownArgumentType]
    changed: Any = copy(document)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    changed[keys[place % len(keys)]] = other
    return changed


ContainerT = TypeVar("ContainerT")

CONTAINER_DEPTH = 5_000
"""How deep containers are nested to check that none overflows the stack."""

Function: TypeAlias = Callable[[Any], Any]
Sides: TypeAlias = tuple[Any, Any]
"""Two containers that must have the same result."""


def check_container(
    container: type[ContainerT],
    drawn: st.SearchStrategy[ContainerT],
    /,
    *,
    run: Callable[[ContainerT], object],
    depth: int = CONTAINER_DEPTH,
    max_examples: int = 50,
) -> None:
    """Check that a container's operations are consistent, for any content.

    Each law is checked if the container has its methods: ``map``, ``bind``, ``alt``, ``lash``, ``swap``, ``apply``,
    ``tap``, ``attempt``, ``compose_result``, ``on_exit``. ``from_value`` and ``from_failure`` make one. (The
    ``returns`` function ``check_all_laws`` accepts a ``map`` that does nothing.)

    Args:
        container: the class.
        drawn: containers in every shape, which hold whole numbers.
        run: returns a container's result: two with the same result are equal.
        depth: how deep they are nested. 0 where they may overflow the stack.
        max_examples: the number of examples for each law.

    Raises:
        LawViolated: a law does not hold.
    """
    laws = _ContainerLaws(container, drawn, run)
    checked = [law for law in (*laws.of_values(), *laws.of_failures(), *laws.of_both()) if law is not None]
    check_laws(checked, max_examples=max_examples)
    if depth:
        deep = Law("containers may be nested to any depth", lambda _: laws.nested(depth))
        check_laws([deep], max_examples=1)


@attrs.frozen
class _ContainerLaws:
    """One container's laws."""

    container: Any
    drawn: st.SearchStrategy[Any]
    run: Callable[[Any], object]

    def law(self, says: str, methods: str, sides: Callable[..., Sides]) -> Law | None:
        """Return the law that two containers have the same result. None if the container lacks a required method.

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


AnyProgram: TypeAlias = Program[Any, Any, Any]

NUMBERS: st.SearchStrategy[Any] = st.integers()


def programs(
    values: st.SearchStrategy[Any] = NUMBERS, errors: st.SearchStrategy[Any] = NUMBERS
) -> st.SearchStrategy[AnyProgram]:
    """Draw programs: from every constructor, composed with methods, in do-blocks and by each other's exits.

    They need no particular services, perform no effects and end immediately.

    Args:
        values: values for successes. Whole numbers by default.
        errors: errors for failures. Whole numbers by default.
    """
    leaves = st.one_of(values.map(Program.from_value), errors.map(Program.from_failure), values.map(_read))
    return st.recursive(leaves, _composed, max_leaves=6)


def _read(value: object) -> AnyProgram:
    """Return a program that succeeds with a value through an effect."""
    return Program.from_future_result_context(RequiresContextFutureResult(lambda _: FutureResult.from_value(value)))


@program
def _first_of(one: AnyProgram, other: AnyProgram) -> Do[Any, Any, Any]:
    value = yield from one
    yield from other.attempt()
    return value


def _composed(inner: st.SearchStrategy[AnyProgram]) -> st.SearchStrategy[AnyProgram]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda two: two[0].bind(lambda _: two[1])),
        pairs.map(lambda two: two[0].lash(lambda _: two[1])),
        pairs.map(lambda two: _first_of(*two)),
        pairs.map(lambda two: two[0].on_exit(two[1].attempt())),
        inner.map(_with_the_same_services),
        inner.map(_attempted),
        inner.map(lambda one: one.swap().swap()),
    )


def _attempted(one: AnyProgram) -> AnyProgram:
    return one.attempt().bind(lift)


def _with_the_same_services(one: AnyProgram) -> AnyProgram:
    return one.modify_env(_same)


def _same(services: object) -> object:
    return services


Combinator: TypeAlias = Callable[[AnyProgram], AnyProgram]

COMBINATOR_DEPTH = 1_000
"""How deep a combinator is nested in itself to check that it does not overflow the stack."""

_LIMIT = timedelta(days=2)
_FOREVER = "3 days"


def check_combinator(
    combinator: Callable[[AnyProgram], AnyProgram], /, *, depth: int = COMBINATOR_DEPTH, max_examples: int = 30
) -> None:
    """Check that a combinator keeps every program's properties.

    - Applying it has no effect. The resulting program can be run again, with the same result.
    - It does not overflow the stack, nested in itself and around long programs.
    - It does not swallow a cancellation.
    - A resource that the inner program acquires is released once, after any exit.

    Args:
        combinator: converts a program to a program, such as ``lambda p: p.timeout("1 minute")``. The checker provides
            the inner programs' services.
        depth: how deep it is nested, if it runs the inner program at most once.
        max_examples: the number of examples for each law.

    Raises:
        LawViolated: a law does not hold.
    """
    laws = _CombinatorLaws(combinator)
    check_laws(laws.drawn(), max_examples=max_examples)
    check_laws(laws.fixed(depth), max_examples=1)


# ---------------------------------------------------------------- services
@attrs.frozen
class Denied:
    """The service refused a word."""

    word: str


@attrs.define
class Outside:
    """Records the words that it received. Refuses some words, each time."""

    refused: frozenset[str] = frozenset()
    heard: list[str] = attrs.Factory(list[str])


@effect
def reach(services: Outside, word: str) -> FutureResult[int, Denied]:
    """Send a word to the service."""
    services.heard.append(word)
    if word in services.refused:
        return FutureResult.from_failure(Denied(word))
    return FutureResult.from_value(len(services.heard))


def die() -> AnyProgram:
    """Raise an undeclared exception."""

    def broken(_: object) -> None:
        raise ZeroDivisionError

    return succeed(None).map(broken)


@program
def _talking(words: str, begun: list[str]) -> Do[Any, Any, Any]:
    begun.append(words)
    for word in words:
        yield from reach(word)
    return words


_BODIES: tuple[AnyProgram, ...] = (
    succeed("done"),
    fail("failed"),
    halt("halted"),
    die(),
    reach("body"),
    reach("body").bind(lambda _: sleep(_FOREVER)),
)


# ---------------------------------------------------------------- the laws
@attrs.frozen
class _CombinatorLaws:
    combinator: Combinator

    def drawn(self) -> Iterator[Law]:
        yield Law("applying it has no effect, and its program can be run again", self._runs_again)
        yield Law("an acquired resource is released once, after any exit", self._releases)

    def fixed(self, depth: int) -> Iterator[Law]:
        yield Law("a cancellation is not swallowed", self._is_cancelled)
        yield Law("it does not overflow the stack", lambda _: self._is_safe(depth))

    def _runs_again(self, data: st.DataObject) -> None:
        words = data.draw(st.text("abc", max_size=4), label="words of the inner program")
        refused = frozenset(data.draw(st.sets(st.sampled_from("abc")), label="refused words"))
        begun: list[str] = []
        made = self.combinator(_talking(words, begun))
        assert not begun, "the inner program ran when the combinator was applied"  # noqa: S101 - a law
        first, second = simulate(made, Outside(refused)), simulate(made, Outside(refused))
        assert repr(first) == repr(second), f"the first run:\n{first!r}\nthe second:\n{second!r}"  # noqa: S101

    def _releases(self, data: st.DataObject) -> None:
        body = data.draw(st.sampled_from(_BODIES), label="use of the resource")
        clean = self._around(body, NO_FAULTS)
        plans = [plan for plan in every_fault(clean) if not isinstance(plan[0], Crash)]
        plan = data.draw(st.sampled_from([NO_FAULTS, *plans]), label="faults")
        seen = self._around(body, plan)
        calls = [(call.args, call.answer) for call in seen.calls("reach")]
        acquired = sum(args == ("acquire",) and isinstance(answer, Success) for args, answer in calls)
        released = sum(args == ("release",) for args, _ in calls)
        assert acquired == released, f"acquired {acquired} times and released {released} times:\n{seen!r}"  # noqa: S101

    def _around(self, body: AnyProgram, plan: Faults) -> AnySimulated:
        held = bracket(reach("acquire"), lambda _: body, lambda _: reach("release").attempt())
        return simulate(self.combinator(held), Outside(), faults=plan, run_timeout=_LIMIT)

    def _is_cancelled(self, _: st.DataObject) -> None:
        seen = simulate(self.combinator(sleep(_FOREVER)), Outside(), run_timeout=_LIMIT)
        cancelled = isinstance(seen.exit, Raised) and isinstance(seen.exit.cause, RunTimeout)
        assert cancelled or seen.elapsed < _LIMIT, f"it continued after it was cancelled:\n{seen!r}"  # noqa: S101

    def _is_safe(self, depth: int) -> None:
        long = succeed(0)
        for _ in range(depth):
            long = long.bind(succeed)
        try:
            simulate(self.combinator(long), Outside())
            if len(simulate(self.combinator(reach("a")), Outside()).effects) <= 1:
                self._nested(depth)
        except RecursionError as overflow:
            raise AssertionError(f"{depth} of them overflow the stack: {overflow}") from overflow

    def _nested(self, depth: int) -> None:
        nested: AnyProgram = reach("innermost")
        for _ in range(depth):
            nested = self.combinator(nested)
        seen = simulate(nested, Outside())
        if isinstance(seen.exit, Raised) and isinstance(seen.exit.cause, RecursionError):
            raise seen.exit.cause
