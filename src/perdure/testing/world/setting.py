"""The setting of a world: what it was made of, as the line of a test that makes it again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from perdure.app import App
from perdure.testing.world.border import Interleaving
from perdure.testing.world.clock import START
from perdure.testing.world.ground import Opener
from perdure.testing.world.spelling import Spelling, name_of, spell
from perdure.values.instant import from_ms
from perdure.values.limits import Limits


@attrs.frozen(kw_only=True)
class Setting:
    """What a world was made of.

    Attributes:
        app: what the test gave.
        services: what it gave in the place of the app's own; None when it gave none.
        seed: what everything is drawn from.
        store: where the data lies.
        interleaving: where other tasks may go first.
        start_ms: what the clock showed at first.
    """

    app: App[Any]
    services: object
    seed: int
    store: str | os.PathLike[str] | Opener
    interleaving: Interleaving
    start_ms: int

    @property
    def needs_a_folder(self) -> bool:
        """Whether the data lay in a file, so that a test that does it again needs a place for one."""
        return isinstance(self.store, os.PathLike)

    def spelled(self) -> Spelling:
        """Write the call that makes such a world.

        The app, the services and a function that opens a store are written by the names that modules have for them.
        Services that no module has are made anew, if their class takes nothing. Where there is no such name, there
        stands ``app`` or ``services``, for the reader to fill in.
        """
        parts = [self._app_and_services(), Spelling(f"seed={self.seed}")]
        if isinstance(self.store, os.PathLike):
            parts.append(Spelling(f"store=tmp_path / {Path(self.store).name!r}"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of any path
        elif self.store != "memory://":
            found = spell(self.store) if isinstance(self.store, str) else name_of(self.store) or Spelling("open_store")
            parts.append(attrs.evolve(found, text=f"store={found.text}"))
        if self.interleaving != "turns":
            parts.append(Spelling(f"interleaving={self.interleaving!r}"))
        start = from_ms(self.start_ms)
        if start != START:
            at = spell(start)
            clock = frozenset({("perdure.testing", "Clock")})
            parts.append(Spelling(f"clock=Clock({at.text})", at.imports | clock))
        imports = frozenset({("perdure.testing", "World")}).union(*(part.imports for part in parts))
        return Spelling(f"World({', '.join(part.text for part in parts)})", imports)

    def _app_and_services(self) -> Spelling:
        app = name_of(self.app)
        if app is not None and self.services is None:
            return app
        services = _services(self.app.engine.services if self.services is None else self.services)
        if app is None and services is not None and (made := self._made_anew(services)) is not None:
            return made
        app, services = app or Spelling("app"), services or Spelling("services")
        if self.services is None:
            return app
        return Spelling(f"{app.text}, {services.text}", app.imports | services.imports)

    def _made_anew(self, services: Spelling) -> Spelling | None:
        """The app, from the names of its definitions; None when one of them has none."""
        jobs = [name_of(job) for job in self.app.served.values()]
        named = [job for job in jobs if job is not None]
        if len(named) < len(jobs):
            return None
        limits = _limits(self.app.engine.limits)
        imports = services.imports.union({("perdure", "Engine")}, limits.imports, *(job.imports for job in named))
        served = ", ".join(job.text for job in named)
        return Spelling(f"Engine({services.text}{limits.text}).jobs({served})", imports)


def _services(services: object) -> Spelling | None:
    if services is None:
        return Spelling("None")
    if (named := name_of(services)) is not None:
        return named
    cls = name_of(type(services))
    if cls is not None and _takes_nothing(type(services)):
        return attrs.evolve(cls, text=f"{cls.text}()")
    return None


def _takes_nothing(cls: type) -> bool:
    from inspect import Parameter, signature  # noqa: PLC0415 - slow to load, and only for a story

    try:
        parameters = signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return all(each.default is not Parameter.empty or each.kind in variadic for each in parameters)


def _limits(limits: Limits) -> Spelling:
    usual = Limits()
    changed = {
        field.name: getattr(limits, field.name)
        for field in attrs.fields(Limits)
        if getattr(limits, field.name) != getattr(usual, field.name)
    }
    if not changed:
        return Spelling("")
    shown = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    return Spelling(f", limits=Limits({shown})", frozenset({("perdure", "Limits")}))
