"""The conversion of a state that older code wrote to the current version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perdure.codecs.codec import Codec
from perdure.codecs.migrations import Migrations, Upcast
from perdure.values.errors import InvalidInput
from perdure.values.frozen import frozen
from perdure.values.secret import scrubbed


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
        version: its number.
        codec: decodes its states.
        upcast: converts a state to the next version.
    """

    version: int
    codec: Codec[Any]
    upcast: Upcast

    def apply(self, encoded: bytes) -> object:
        """Convert an encoded value to the next version.

        Raises:
            InvalidInput: it is not of this version.
            UpcastFailed: the upcaster raised.
        """
        value = self.codec.decode(encoded)
        try:
            return self.upcast.function(value)
        except KeyboardInterrupt:
            raise
        except BaseException as defect:  # noqa: BLE001 - chained, unless it may contain a secret
            step = f"{self.upcast.name} (version {self.version} to {self.version + 1})"
            text = scrubbed(f"{defect}", self.codec.secrets(encoded))
            problem = f"$: the upcaster {step} raised {type(defect).__name__}: {text}"
            raise UpcastFailed(self.codec.what, (problem,), step, defect) from (None if self.codec.secret else defect)


@frozen(kw_only=True)
class Upgrades:
    """Converts encoded states of older versions to the current one.

    Attributes:
        present: the codec of the current version.
        version: the number of the current version.
        steps: the older versions that are still read, oldest first.
    """

    present: Codec[Any]
    version: int
    steps: tuple[UpgradeStep, ...]

    @staticmethod
    def of(present: Codec[Any], versions: Migrations[Any] | None, *, tags: Mapping[type, str] | None) -> Upgrades:
        """Make the codecs of all versions.

        Args:
            present: the codec of the current version.
            versions: all versions; None when the state has had one schema only.
            tags: the stable names of classes, in any version.

        Raises:
            DefinitionError: a type of an older version has no JSON form.
        """
        if versions is None:
            return Upgrades(present=present, version=1, steps=())
        forms = (versions.oldest, *(upcast.returns for upcast in versions.upcasts[:-1]))
        steps = tuple(
            UpgradeStep(
                version=version,
                codec=Codec.of(form, what=f"{present.what}, version {version}", tags=tags, other_tags="ignored"),
                upcast=upcast,
            )
            for version, form, upcast in zip(
                range(versions.number, versions.present), forms, versions.upcasts, strict=True
            )
        )
        return Upgrades(present=present, version=versions.present, steps=steps)

    def codec_of(self, version: int) -> Codec[Any] | None:
        """Return the codec of a version; None if this code does not read it."""
        if version == self.version:
            return self.present
        return self.steps[version - self.oldest].codec if self.oldest <= version < self.version else None

    @property
    def oldest(self) -> int:
        """The number of the oldest version that can be read."""
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

        Every step is checked: a value of a wrong type is refused at the step that returned it.

        Args:
            encoded: the state; empty text is returned unchanged.
            version: the version it was written in.

        Raises:
            InvalidInput: the version is unknown, the state is not of that version, or an upcaster returned another
                type.
            UpcastFailed: an upcaster raised.
        """
        self.check(version)
        if not encoded or version == self.version:
            return encoded
        steps = self.steps[version - self.oldest :]
        for step, codec in zip(steps, (*(step.codec for step in steps[1:]), self.present), strict=True):
            encoded = _encoded(codec, step.apply(encoded.encode()), step)
        return encoded


def _encoded(codec: Codec[Any], value: object, step: UpgradeStep) -> str:
    try:
        return codec.encode(value).decode()
    except InvalidInput as problem:
        raise InvalidInput(f"{problem.what}, as {step.upcast.name} returned it", problem.problems) from problem
