"""The setting of a world: what it was made of, as the line of a test that makes it again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from perdure.app import App
from perdure.testing.world.backend import Opener
from perdure.testing.world.boundary import Interleaving
from perdure.testing.world.clock import START
from perdure.testing.world.source_repr import SourceRepr, name_of, spell
from perdure.values.instant import from_ms
from perdure.values.limits import Limits


@attrs.frozen(kw_only=True)
class WorldConfig:
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

    def spelled(self) -> SourceRepr:
        """Write the call that makes such a world.

        The app, the services and a function that opens a store are written by the names that modules have for them.
        Services that no module has are made anew, if their class takes nothing. Where there is no such name, there
        stands ``app`` or ``services``, for the reader to fill in.
        """
        parts = [self._app_and_services(), SourceRepr(f"seed={self.seed}")]
        if isinstance(self.store, os.PathLike):
            parts.append(SourceRepr(f"store=tmp_path / {Path(self.store).name!r}"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of any path
        elif self.store != "memory://":
            found = (
                spell(self.store) if isinstance(self.store, str) else name_of(self.store) or SourceRepr("open_store")
            )
            parts.append(attrs.evolve(found, text=f"store={found.text}"))
        if self.interleaving != "turns":
            parts.append(SourceRepr(f"interleaving={self.interleaving!r}"))
        start = from_ms(self.start_ms)
        if start != START:
            at = spell(start)
            clock = frozenset({("perdure.testing", "Clock")})
            parts.append(SourceRepr(f"clock=Clock({at.text})", at.imports | clock))
        imports = frozenset({("perdure.testing", "World")}).union(*(part.imports for part in parts))
        return SourceRepr(f"World({', '.join(part.text for part in parts)})", imports)

    def _app_and_services(self) -> SourceRepr:
        app = name_of(self.app)
        if app is not None and self.services is None:
            return app
        services = _services(self.app.services if self.services is None else self.services)
        if app is None and services is not None and (made := self._rebuilt(services)) is not None:
            return made
        app, services = app or SourceRepr("app"), services or SourceRepr("services")
        if self.services is None:
            return app
        return SourceRepr(f"{app.text}, {services.text}", app.imports | services.imports)

    def _rebuilt(self, services: SourceRepr) -> SourceRepr | None:
        """The app, from the names of its definitions; None when one of them has none."""
        jobs = [name_of(job) for job in self.app.served.values()]
        named = [job for job in jobs if job is not None]
        if len(named) < len(jobs):
            return None
        limits = _limits(self.app.limits)
        imports = services.imports.union({("perdure", "App")}, limits.imports, *(job.imports for job in named))
        served = ", ".join(job.text for job in named)
        return SourceRepr(f"App({services.text}{limits.text}).with_jobs({served})", imports)


def _services(services: object) -> SourceRepr | None:
    if services is None:
        return SourceRepr("None")
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


def _limits(limits: Limits) -> SourceRepr:
    usual = Limits()
    changed = {
        field.name: getattr(limits, field.name)
        for field in attrs.fields(Limits)
        if field.init and getattr(limits, field.name) != getattr(usual, field.name)
    }
    if not changed:
        return SourceRepr("")
    shown = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    return SourceRepr(f", limits=Limits({shown})", frozenset({("perdure", "Limits")}))
