"""The configuration of a world, and the source code that makes the world again."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from perdure.app import App
from perdure.jobs.ensured import Ensured
from perdure.testing.world.backend import Opener
from perdure.testing.world.boundary import Interleaving, Requests
from perdure.testing.world.clock import START
from perdure.testing.world.recorded_call import source_of_input
from perdure.testing.world.source_repr import SourceRepr, name_of, source_of
from perdure.values.limits import Limits


@attrs.frozen(kw_only=True)
class WorldConfig:
    """The arguments of a world.

    Attributes:
        app: the app of the test.
        services: the services that replace the app's own; None for the app's own.
        seed: the seed of every random choice.
        store: where the data is stored.
        interleaving: where other tasks may run first.
        requests: how loads and commits reach the store.
        start: the initial time of the clock.
    """

    app: App[Any]
    services: object
    seed: int
    store: str | os.PathLike[str] | Opener
    interleaving: Interleaving
    requests: Requests
    start: datetime
    debug: bool = True

    @property
    def needs_a_folder(self) -> bool:
        """Return whether the data is in a file, so that a reproducing test needs a folder for it."""
        return isinstance(self.store, os.PathLike)

    def source(self) -> SourceRepr:
        """Return the call that makes such a world.

        The app, the services and a function that opens a store are written by the names that modules have for them.
        Services that no module has are constructed, if their class takes no arguments. Otherwise the code contains
        ``app`` or ``services``, for the reader to complete.
        """
        parts = [self._app_and_services(), SourceRepr(f"seed={self.seed}")]
        if isinstance(self.store, os.PathLike):
            parts.append(SourceRepr(f"store=tmp_path / {Path(self.store).name!r}"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of any path
        elif self.store != "memory://":
            found = (
                source_of(self.store)
                if isinstance(self.store, str)
                else name_of(self.store) or SourceRepr("open_store")
            )
            parts.append(attrs.evolve(found, text=f"store={found.text}"))
        if self.interleaving != "turns":
            parts.append(SourceRepr(f"interleaving={self.interleaving!r}"))
        if self.requests != "single":
            parts.append(SourceRepr(f"requests={self.requests!r}"))
        if not self.debug:
            parts.append(SourceRepr("debug=False"))
        if self.start != START:
            at = source_of(self.start)
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
        """Return the app, built from the names of its definitions; None when one of them has no name."""
        jobs = [name_of(job) for job in self.app.served.values()]
        named = [job for job in jobs if job is not None]
        if len(named) < len(jobs):
            return None
        limits = _limits(self.app.limits)
        imports = services.imports.union({("perdure", "App")}, limits.imports, *(job.imports for job in named))
        served = ", ".join(job.text for job in named)
        ensured = [_ensuring(declared) for declared in self.app.ensured.values()]
        text = f"App({services.text}{limits.text}).with_jobs({served}){''.join(each.text for each in ensured)}"
        return SourceRepr(text, imports.union(*(each.imports for each in ensured)))


def _ensuring(declared: Ensured) -> SourceRepr:
    method, arguments = declared.job.handle_call(declared.request)
    job = name_of(declared.job) or SourceRepr("job")
    parts = [source_of_input(argument) for argument in arguments]
    request = f"lambda job: job.{method}({', '.join(part.text for part in parts)})"
    return SourceRepr(
        f".ensuring({job.text}, {declared.address.id!r}, {request})",
        job.imports.union(*(part.imports for part in parts)),
    )


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
    from inspect import Parameter, signature  # noqa: PLC0415 - slow to load, and only for a reproduction

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
