"""How services answer in a rehearsal: with given answers, fakes, recorded outcomes, faults, or the first of a type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import orjson
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.kinds.workflow.journal import whole_row
from perdure.programs import default_handler
from perdure.programs.effect_results import Declared, Undeclared, declared_by
from perdure.programs.instructions import ServiceCall
from perdure.rehearsal.image import Image, share_of
from perdure.rehearsal.past import number_of
from perdure.testing.typed import NoSample, examples_of
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidInput, PerdureError
from perdure.values.excerpt import fields_in_line
from perdure.values.times import Duration, duration_ms

Source: TypeAlias = Literal["given", "fakes", "recorded", "type", "fault"]
"""Where an answer comes from."""

MOST_RECORDED: Final = 100
"""How many recorded outcomes of one effect are kept."""


@attrs.frozen
class FromJson:
    """A successful answer, as JSON.

    Attributes:
        text: the JSON of the effect's value, such as ``3``.
    """

    text: str

    def __attrs_post_init__(self) -> None:
        try:
            orjson.loads(self.text)
        except ValueError as problem:
            raise DefinitionError("answer of an effect", self.text, 'JSON, such as 3 or {"cents": 100}') from problem


Given: TypeAlias = Result[Any, Any] | Callable[..., Result[Any, Any]] | FromJson
"""The answer to each call of an effect, as a result or as JSON, or a function of its arguments that returns it."""


@attrs.frozen(repr=False)
class NoAnswers(PerdureError):
    """The rehearsal has no answers for these effects.

    Attributes:
        reasons: why, by effect.
    """

    reasons: Mapping[str, str]

    def _text(self) -> str:
        lines = [f"{name}: {reason}" for name, reason in sorted(self.reasons.items())]
        how = "give their answers (--answer NAME=JSON), or fake services (--services MODULE:FAKES)"
        return "\n  ".join([f"no answers for {len(lines)} effects; annotate them, {how}:", *lines])


class DeclinedForRehearsal(Exception):
    """The defect of a fault in an effect that declares no error."""


@attrs.frozen(kw_only=True)
class ServiceAnswers:
    """How the services answer in a rehearsal.

    An effect gets the first of these answers that exists: a fault, the given one, the fakes', a recorded one, and the
    first success of its declared type.

    Attributes:
        given: the answers to some effects, by name.
        services: fake services, which the effects' own functions call. None: there are none.
        fail: the share of calls that fail, by effect, from 0 to 1. The failed call gets the first declared error, or a
            defect if there is none.
        latency_ms: how long each call takes, in milliseconds.
        down: how long a service is down from the beginning, by effect. Its calls fail meanwhile, as for ``fail``.
    """

    __repr__ = fields_in_line

    given: Mapping[str, Given] = attrs.Factory(dict[str, Given])
    services: Any = None  # the user's own record
    fail: Mapping[str, float] = attrs.Factory(dict[str, float])
    latency_ms: int = 0
    down: Mapping[str, Duration] = attrs.Factory(dict[str, Duration])
    down_ms: Mapping[str, int] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        down = {name: duration_ms(each, what=f"downtime of {name}", minimum_ms=1) for name, each in self.down.items()}
        object.__setattr__(self, "down_ms", down)
        for name, share in self.fail.items():
            if not 0 <= share <= 1:
                raise DefinitionError(f"failures of {name}", share, "a share of its calls, from 0 to 1")
        if self.latency_ms < 0:
            raise DefinitionError("latency of services", self.latency_ms, "milliseconds, 0 or more")

    def not_called(self, *used: Iterable[tuple[str, Source]]) -> tuple[str, ...]:
        """Return the effects that it names and that no program has called: perhaps a name is misspelt.

        Args:
            *used: calls, by effect and source.
        """
        called = {name for each in used for name, _ in each}
        return tuple(sorted({*self.given, *self.fail, *self.down} - called))


@attrs.define
class Performer:
    """ServiceAnswers the calls of one future.

    Attributes:
        recorded: recorded outcomes as JSON, by effect.
        seed: decides which calls fail.
        used: how many calls each source has answered, by effect.
        missing: the effects without an answer, and why.
    """

    answers: ServiceAnswers
    recorded: Mapping[str, tuple[Recorded, ...]]
    seed: int
    used: Counter[tuple[str, Source]] = attrs.Factory(Counter[tuple[str, Source]])
    missing: dict[str, str] = attrs.Factory(dict[str, str])

    def answer(self, call: ServiceCall, address: Address, ordinal: int, elapsed_ms: int) -> object:
        """Return the answer to a call, which may be an awaitable.

        Args:
            call: the call.
            address: the instance.
            ordinal: how often the instance has made this very call before.
            elapsed_ms: how long ago the rehearsal began.

        Raises:
            LookupError: there is none; `missing` says why.
        """
        # Before all other answers: a fault is asked for by name, and is to hit fakes and recorded outcomes as well.
        if self._fails(call, address, ordinal, elapsed_ms):
            self.used[call.name, "fault"] += 1
            return failure_of(call)
        given = self.answers.given.get(call.name)
        if given is not None:
            self.used[call.name, "given"] += 1
            if isinstance(given, FromJson):
                return self._decoded(call, given)
            return given(*call.args, **call.kwargs) if callable(given) else given
        if self.answers.services is not None:
            self.used[call.name, "fakes"] += 1
            return default_handler(call, self.answers.services)
        recorded = self.recorded.get(call.name, ())
        if recorded:
            self.used[call.name, "recorded"] += 1
            # By a hash, and not in order: an additional call of one instance must not change the answers of all others.
            one = recorded[number_of(self.seed, "recorded", address, call.name, ordinal) % len(recorded)]
            try:
                return one.result(call)
            except InvalidInput:  # of an older type
                self.used[call.name, "recorded"] -= 1
        return self._of_type(call)

    def _fails(self, call: ServiceCall, address: Address, ordinal: int, elapsed_ms: int) -> bool:
        if elapsed_ms < self.answers.down_ms.get(call.name, 0):
            return True
        # The number depends on the call itself, so that both codes meet the same faults.
        share = self.answers.fail.get(call.name, 0.0)
        return share > 0 and share_of(number_of(self.seed, "fault", address, call.name, call.args, ordinal)) < share

    def _decoded(self, call: ServiceCall, given: FromJson) -> object:
        try:
            return Recorded("done", given.text).result(call)
        except InvalidInput as problem:
            self.missing[call.name] = f"its answer is no value of its type: {'; '.join(problem.problems)}"
            raise LookupError(call.name) from problem

    def _of_type(self, call: ServiceCall) -> object:
        match first_success(call.fn):
            case str(reason):
                self.missing[call.name] = reason
                raise LookupError(call.name)
            case found:
                self.used[call.name, "type"] += 1
                return found


@cache
def first_success(function: Callable[..., object]) -> Result[Any, Any] | str:
    """Return the simplest success of an effect's declared type, or why there is none."""
    match declared_by(function):
        case Undeclared(reason):
            return reason
        case Declared(value=value):
            try:
                return Success(examples_of(value)[0])
            except NoSample as none:
                return none.reason


def failure_of(call: ServiceCall) -> Result[Any, Any]:
    """Return an effect's first declared failure.

    Raises:
        DeclinedForRehearsal: it declares none.
    """
    declared = declared_by(call.fn)
    if isinstance(declared, Declared) and declared.error is not None:
        try:
            return Failure(examples_of(declared.error)[0])
        except NoSample:
            pass
    # An effect without a declared error fails with an exception, as its client would in production.
    raise DeclinedForRehearsal(f"{call.name} fails in this rehearsal")


# ---------------------------------------------------------------- recorded outcomes
@attrs.frozen
class Recorded:
    """One recorded outcome.

    Attributes:
        form: whether the step succeeded.
        value: its value or its error, as JSON.
    """

    form: Literal["done", "failed"]
    value: str

    @classmethod
    def of(cls, call: ServiceCall, answer: object) -> Recorded:
        """Encode an answer to a call.

        Raises:
            InvalidInput: it is no result, or its type does not encode it.
        """
        values, errors = _codecs(call.fn, call.name)
        match cast("Result[object, object]", answer):
            case Success(value):
                return cls("done", values.encode(value).decode())
            case Failure(error) if errors is not None:
                return cls("failed", errors.encode(error).decode())
            case _:
                raise InvalidInput(f"answer of {call.name}", ("it is not a result of its type",))

    def result(self, call: ServiceCall) -> Result[Any, Any]:
        """Decode it.

        Raises:
            InvalidInput: it does not have the effect's type.
        """
        values, errors = _codecs(call.fn, call.name)
        if self.form == "done":
            return Success(values.decode(self.value.encode()))
        if errors is None:
            raise InvalidInput(f"error of {call.name}", ("the effect declares none",))
        return Failure(errors.decode(self.value.encode()))


@cache
def _codecs(function: Callable[..., Any], name: str) -> tuple[Codec[Any], Codec[Any] | None]:
    declared = declared_by(function)
    if isinstance(declared, Undeclared):
        raise InvalidInput(f"value of {name}", (declared.reason,))
    error = None if declared.error is None else Codec.of(declared.error, what=f"error of {name}")
    return Codec.of(declared.value, what=f"value of {name}"), error


def recorded_in(image: Image) -> Mapping[str, tuple[Recorded, ...]]:
    """Return the outcomes of steps that the workflows in an image have recorded, by effect."""
    found: defaultdict[str, dict[Recorded, None]] = defaultdict(dict)
    for address, (_, journal) in image.instances.items():
        for name, one in _outcomes(journal) if address.kind == "workflow" else ():
            # A dict keeps the first of equal outcomes, in order: a set would choose others in each process.
            if len(found[name]) < MOST_RECORDED:
                found[name][one] = None
    return {name: tuple(each) for name, each in found.items()}


def _outcomes(journal: Iterable[str]) -> Iterable[tuple[str, Recorded]]:
    parts: dict[str, str] = {}
    for body in journal:
        try:
            row = whole_row(body, parts)
        except InvalidInput:
            continue
        if row.form in ("done", "failed") and row.value:
            yield row.name, Recorded("done" if row.form == "done" else "failed", row.value)
