"""State versions: the schemas that a job's state has had, the step from each to the next, and their conversion."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Types of every schema pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, cast, get_origin, get_type_hints

import attrs
from typing_extensions import TypeForm

from perdure.codecs.codec import Codec
from perdure.codecs.grammar import flattened, stripped
from perdure.codecs.json_schema import describe_type
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.frozen import frozen
from perdure.values.secret import scrubbed

S = TypeVar("S")
T = TypeVar("T")

MAX_VERSION: Final = 1_000_000

_WHAT: Final = "versions of a state"


@frozen(kw_only=True)
class Upcast:
    """One step from a version to the next.

    Attributes:
        function: converts a value to the next version.
        returns: the type that the function returns.
    """

    name: str
    function: Callable[[Any], Any]  # from the type before to `returns`
    returns: Any  # a type form


@attrs.frozen(init=False, eq=False)
class Migrations(Generic[S]):
    """Every state version that may still be stored, oldest first. ``S`` is the newest type.

    ``Migrations(OrderV1).then(with_currency).then(with_lines)`` declares that version 1 rows contain an ``OrderV1``,
    that ``with_currency`` converts it to version 2, and that ``with_lines`` converts that to version 3, the current
    one. A type checker reports a function that does not accept the type the previous one returns.

    Attributes:
        number: the oldest version's number.
        oldest: its type.
        upcasts: the steps from there to the newest version, in order.

    Args:
        oldest: the oldest version's type.
        number: its number, above 1 once you remove older versions.

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
        """Return the migrations with the next version added.

        Args:
            upcast: a pure function from a value in the newest version so far. Its annotations declare the types at run
                time.

        Raises:
            DefinitionError: it is not a function with one argument, its annotations are missing, or it takes another
                type.
        """
        step = _upcast(upcast, self.newest)
        following: Migrations[Any] = Migrations(self.oldest, number=self.number)
        object.__setattr__(following, "upcasts", (*self.upcasts, step))
        return following

    @property
    def newest(self) -> object:
        """The newest version's type."""
        return self.upcasts[-1].returns if self.upcasts else self.oldest

    @property
    def present(self) -> int:
        """The newest version's number, which the code writes."""
        return self.number + len(self.upcasts)


def is_same_form(one: object, other: object) -> bool:
    """Return whether two type forms are the same type, ignoring aliases and a union's order."""
    return stripped(one) == stripped(other) or set(flattened(one)) == set(flattened(other))


def _upcast(function: object, takes: object) -> Upcast:
    name = getattr(function, "__qualname__", None) or repr(function)
    what = f"{_WHAT}: {name}"
    if not callable(function) or isinstance(function, type) or inspect.iscoroutinefunction(function):
        raise DefinitionError(what, function, "a plain function: def to_v2(old: V1) -> V2")
    given, returns = _annotations(function, what)
    if not _takes(given, takes):
        expected = f"a function of {describe_type(cast('Any', takes))}, the type of the previous version"
        raise DefinitionError(what, f"a function of {describe_type(given)}", expected)
    return Upcast(name=name, function=function, returns=returns)


def _annotations(function: Callable[..., object], what: str) -> tuple[Any, Any]:
    """Return the argument type and the result type."""
    expected = "annotations that resolve, at module level: def to_v2(old: V1) -> V2"
    try:
        hints, signature = get_type_hints(function), inspect.signature(function)
        signature.bind(None)
    except (NameError, TypeError, ValueError, AttributeError) as error:
        raise DefinitionError(what, str(error), f"a function of one argument with {expected}") from error
    argument = next(iter(signature.parameters))
    if argument not in hints or "return" not in hints:
        raise DefinitionError(what, f"{argument!r} and its result, with annotations for {sorted(hints)}", expected)
    return hints[argument], hints["return"]


def _takes(given: object, form: object) -> bool:
    """Return whether an annotation accepts every value of a type, as far as classes show."""
    members = tuple(flattened(given))
    return all(any(_is_member(each, member) for member in members) for each in flattened(form))


def _is_member(form: Any, member: Any) -> bool:
    if form == member or member in (Any, object) or isinstance(member, TypeVar):
        return True
    outer: Any = get_origin(form) or form
    wanted: Any = get_origin(member) or member
    return isinstance(outer, type) and isinstance(wanted, type) and issubclass(outer, wanted)


@attrs.frozen(repr=False)
class UpcastFailed(InvalidInput):
    """An upcaster raised. The stored state is unchanged.

    Attributes:
        upcast: the step, such as ``"to_v2 (version 1 to 2)"``.
        defect: the exception.
    """

    upcast: str
    defect: BaseException


@frozen(kw_only=True)
class UpgradeStep:
    """One older version: its codec and the step to the next version.

    Attributes:
        upcast: converts a state to the next version.
    """

    version: int
    codec: Codec[Any]
    upcast: Upcast

    def apply(self, encoded: bytes) -> object:
        """Convert an encoded value to the next version.

        Raises:
            InvalidInput: it does not have this version.
            UpcastFailed: the upcaster raised.
        """
        # `decode`, not `open`: an upcaster must see all of the value, or the unknown part would be lost here.
        value = self.codec.decode(encoded)
        try:
            return self.upcast.function(value)
        # The operator's wish to stop is no problem of the state.
        except KeyboardInterrupt:
            raise
        except BaseException as defect:  # noqa: BLE001 - chained, unless it may contain a secret
            step = f"{self.upcast.name} (version {self.version} to {self.version + 1})"
            # The upcaster had the secrets, and may have printed them.
            text = scrubbed(f"{defect}", self.codec.secrets(encoded))
            problem = f"$: the upcaster {step} raised {type(defect).__name__}: {text}"
            raise UpcastFailed(self.codec.what, (problem,), step, defect) from (None if self.codec.secret else defect)


@frozen(kw_only=True)
class Upgrades:
    """Converts encoded states from older versions to the current one.

    Attributes:
        present: the current version's codec.
        version: the current version's number.
        steps: the older versions that are still read, oldest first.
    """

    present: Codec[Any]
    version: int
    steps: tuple[UpgradeStep, ...]

    @staticmethod
    def of(present: Codec[Any], versions: Migrations[Any] | None, *, tags: Mapping[type, str] | None) -> Upgrades:
        """Make all versions' codecs.

        Args:
            present: the current version's codec.
            versions: all versions. None when the state has had one schema only.
            tags: stable class names, in any version.

        Raises:
            DefinitionError: an older version's type has no JSON form.
        """
        if versions is None:
            return Upgrades(present=present, version=1, steps=())
        forms = (versions.oldest, *(upcast.returns for upcast in versions.upcasts[:-1]))
        steps = tuple(
            UpgradeStep(
                version=version,
                codec=Codec.of(form, what=f"{present.what}, version {version}", tags=tags, ignores_other_tags=True),
                upcast=upcast,
            )
            for version, form, upcast in zip(
                range(versions.number, versions.present), forms, versions.upcasts, strict=True
            )
        )
        return Upgrades(present=present, version=versions.present, steps=steps)

    def codec_of(self, version: int) -> Codec[Any] | None:
        """Return a version's codec. None if this code does not read it."""
        if version == self.version:
            return self.present
        return self.steps[version - self.oldest].codec if self.oldest <= version < self.version else None

    @property
    def oldest(self) -> int:
        """The oldest readable version's number."""
        return self.version - len(self.steps)

    def check(self, version: int) -> None:
        """Check that this code can read a version.

        Raises:
            InvalidInput: the version is older or newer.
        """
        if self.oldest <= version <= self.version:
            return
        known = f"version {self.version}" if not self.steps else f"versions {self.oldest} to {self.version}"
        who = "newer code wrote it" if version > self.version else "older code wrote it"
        raise InvalidInput(self.present.what, (f"$: its version is {version}, and this code reads {known}: {who}",))

    def upgrade(self, encoded: str, version: int) -> str:
        """Convert an encoded state to the current version.

        Every step is checked: a value with a wrong type is refused at the step that returned it.

        Args:
            encoded: the state. Empty text is returned unchanged.
            version: the version it was written in.

        Raises:
            InvalidInput: the version is unknown, the state does not have that version, or an upcaster returned another
                type.
            UpcastFailed: an upcaster raised.
        """
        self.check(version)
        if not encoded or version == self.version:
            return encoded
        # Every step from that version on: upcasters are written for the version right before theirs.
        steps = self.steps[version - self.oldest :]
        # Encoded after each step, so that the message names the upcaster that returned a wrong value.
        for step, codec in zip(steps, (*(step.codec for step in steps[1:]), self.present), strict=True):
            encoded = _encoded(codec, step.apply(encoded.encode()), step)
        return encoded


def _encoded(codec: Codec[Any], value: object, step: UpgradeStep) -> str:
    try:
        return codec.encode(value).decode()
    except InvalidInput as problem:
        raise InvalidInput(f"{problem.what}, as {step.upcast.name} returned it", problem.problems) from problem
