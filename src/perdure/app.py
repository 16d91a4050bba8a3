"""An app: services, definitions and limits as a value, which runs when it is opened on a store."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, cast, overload

import attrs

from perdure.client.client import AsyncContextGuard, Client
from perdure.client.local_gateway import LocalGateway
from perdure.engine.loops.upkeep import keeping_attributes
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.reporting import HookChecks, MistakeFound, MistakeLog
from perdure.engine.running import RunningEngine, running_engine
from perdure.engine.runs.effects import Perform, perform_directly
from perdure.engine.runs.runner import RunEnded
from perdure.engine.sinks import EngineView, EventSink, OpenSink, OpenSinks
from perdure.jobs.definition import AnyDefinition, Definition, check_definition
from perdure.jobs.ensured import MAX_ENSURED, Ensured, ensured
from perdure.jobs.plan import check_services
from perdure.programs import Program
from perdure.programs.container import result_inside
from perdure.runtime.record import Draws, LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.encryption import Encryption, encrypted_store
from perdure.stores.encryption.sealed_store import key_warning
from perdure.stores.url_parts import redacted_url
from perdure.stores.values import OnLocked
from perdure.values.address import Address, Job
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, shortened
from perdure.values.limits import Limits
from perdure.values.listings import InFlight

GivenEncryption: TypeAlias = Encryption | Callable[[], Encryption] | None
"""The keys of an app, or the function that reads them when the app is opened."""

R = TypeVar("R")
T = TypeVar("T")


@attrs.frozen(init=False)
class App(Generic[R]):
    """Services, limits and definitions: a value that you open, or that ``perdure run module:app`` serves.

    You pass the services first and the definitions second, because mypy and pyright can then check each definition's
    needs against the services.

    Args:
        services: a record with everything that the programs need, or a function that returns an async context manager
            for one: the engine enters it when the app is opened, and exits it after the last run has ended.
        limits: the engine's limits.
        encryption: encrypts what your data's store keeps. The `Encryption`, or a function that returns it, which
            is called when the app is opened. By default nothing is encrypted.

    Attributes:
        served: the definitions, by kind and name.
        ensured: the instances that exist after every start, by address.
        sinks: receive what the engine reports.
        left_out: the jobs that `only` and `without` leave to other engines.
    """

    services: R | Callable[[], AbstractAsyncContextManager[R]]
    limits: Limits
    served: Mapping[tuple[str, str], AnyDefinition]
    ensured: Mapping[Address, Ensured]
    encryption: GivenEncryption = None
    sinks: tuple[EventSink, ...] = ()
    left_out: tuple[Job, ...] = ()

    @overload
    def __init__(
        self,
        services: Callable[[], AbstractAsyncContextManager[R]],
        *,
        limits: Limits = ...,
        encryption: GivenEncryption = ...,
    ) -> None: ...
    @overload
    def __init__(self, services: R, *, limits: Limits = ..., encryption: GivenEncryption = ...) -> None: ...
    def __init__(self, services: Any, *, limits: Limits = Limits(), encryption: GivenEncryption = None) -> None:
        given: object = services
        if isinstance(given, Definition):
            wanted = "a record of services, or None; definitions follow: App(services).with_jobs(...)"
            raise DefinitionError("services of the app", cast("object", services), wanted)
        given_limits = cast("object", limits)
        if not isinstance(given_limits, Limits):
            raise DefinitionError("limits of the app", given_limits, "a Limits, such as Limits(message_deliveries=5)")
        cast("Any", self).__attrs_init__(services, limits, {}, {}, encryption)

    def with_jobs(self, *definitions: Definition[Any, Any, R]) -> App[R]:
        """Return an app that serves these definitions as well.

        Raises:
            DefinitionError: a value is not a definition, two have the same kind and name, or the services lack a member
                that a job needs. The record that a factory creates is checked when the app is opened.
        """
        served = dict(self.served)
        for value in definitions:
            job = check_definition(value)
            if (job.kind, job.name) in served:
                raise DefinitionError(
                    "jobs of the app",
                    f"{job.kind}:{job.name} twice",
                    "each kind and name once: they are the address that instances are stored under",
                )
            served[job.kind, job.name] = job
        if not callable(self.services):
            _check(self.services, served)
        return self._changed(served=served)

    def only(self, *definitions: Definition[Any, Any, R]) -> App[R]:
        """Return an app that serves these of its jobs alone: other engines on the shared store serve the others.

        Raises:
            DefinitionError: the app does not serve one of them, or there is none.
        """
        return self._serving({(job.kind, job.name): job for job in self._own(definitions, of="only")})

    def without(self, *definitions: Definition[Any, Any, R]) -> App[R]:
        """Return an app that serves all its jobs but these: other engines on the shared store serve them.

        Raises:
            DefinitionError: the app does not serve one of them, or no job is left.
        """
        left_out = {(job.kind, job.name) for job in self._own(definitions, of="without")}
        return self._serving({job: each for job, each in self.served.items() if job not in left_out})

    def _own(self, definitions: tuple[object, ...], *, of: str) -> list[AnyDefinition]:
        own = [check_definition(each) for each in definitions]
        for job in own:
            if self.served.get((job.kind, job.name)) is not job:
                raise DefinitionError(f"jobs of {of}", job, "definitions that the app serves: with_jobs(...) first")
        return own

    def _serving(self, served: Mapping[tuple[str, str], AnyDefinition]) -> App[R]:
        if not served:
            raise DefinitionError("jobs of the app", "none", "at least one job that the app serves")
        left_out = {*self.left_out, *(self.served.keys() - served.keys())}
        ensured = {at: each for at, each in self.ensured.items() if (at.kind, at.name) in served}
        return self._changed(served=served, ensured=ensured, left_out=tuple(sorted(left_out)))

    def with_sinks(self, *sinks: EventSink) -> App[R]:
        """Return an app that reports to these sinks as well, such as ``tracker("https://...")``.

        Raises:
            DefinitionError: a value is not a sink, or two sinks have the same name.
        """
        added = list(self.sinks)
        for value in sinks:
            given = cast("object", value)
            name = getattr(given, "name", None)
            if not isinstance(name, str) or not callable(getattr(given, "open", None)):
                raise DefinitionError(
                    "sinks of the app", given, "an EventSink: a value with a name and a function open"
                )
            if any(sink.name == name for sink in added):
                raise DefinitionError(
                    "sinks of the app",
                    f"{name} twice",
                    "each name once: remove one, or pass another name=, if it has that option",
                )
            added.append(value)
        return self._changed(sinks=tuple(added))

    def ensuring(
        self, definition: Definition[Any, T, Any], id_: str, request: Callable[[T], Program[None]], /
    ) -> App[R]:
        """Return an app that also declares an instance: at every start, the engine creates it if it does not exist.

        Write ``app.ensuring(heartbeat, "main", lambda beat: beat.start(0))``. The engine creates declared instances
        before it accepts requests. It never changes or terminates an instance that exists, whatever the declaration
        says now.

        Args:
            definition: a job that the app serves.
            id_: the instance.
            request: a function that takes the sender and sends the creating request: ``start``, ``send`` or ``add``.
                The engine waits until a ``start`` is claimed, and until a ``send`` or ``add`` event is handled.

        Raises:
            DefinitionError: the app does not serve the definition, declares the instance already, or declares 1,000
                others. The function does not send exactly one request that creates an instance, or its input or the id
                is not valid.
        """
        job = check_definition(definition)
        if self.served.get((job.kind, job.name)) is not job:
            raise DefinitionError("ensuring of the app", job, "a definition that it serves: with_jobs(...) first")
        declared = ensured(definition, id_, request, self.limits)
        if declared.address in self.ensured:
            raise DefinitionError("ensuring of the app", f"{declared.address} twice", "each instance once")
        if len(self.ensured) >= MAX_ENSURED:
            expected = f"at most {MAX_ENSURED:,} instances; create others with calls"
            raise DefinitionError("ensuring of the app", len(self.ensured) + 1, expected)
        return self._changed(ensured={**self.ensured, declared.address: declared})

    def _changed(self, **changes: Any) -> App[R]:  # of the fields named
        app: Any = object.__new__(type(self))
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(App)}
        app.__attrs_init__(**fields | changes)
        return cast("App[R]", app)

    def __repr__(self) -> str:
        served = ", ".join(f"{kind}:{name}" for kind, name in self.served)
        return shortened(f"<{type(self).__name__} of {served or 'no jobs'}>", MAX_LINE_CHARACTERS)

    def open(
        self,
        store: str | Store,
        /,
        *,
        runtime: Runtime | None = None,
        perform: Perform = perform_directly,
        run_ended: RunEnded | None = None,
        on_locked: OnLocked = "raise",
        debug: bool = True,
        mistake_found: MistakeFound | None = None,
        draws: Draws | None = None,
    ) -> OpenApp:
        """Open a store and run.

        Use it as ``async with app.open("sqlite:///jobs.db") as jobs:``. Opening recovers the runs that an earlier
        engine left, and creates the declared instances that do not exist. It raises ``EnsureFailed`` if it cannot. When
        the block ends, the engine accepts no more requests, lets runs finish within the shutdown timeout, and closes
        services and store.

        Args:
            store: a URL such as ``sqlite:///jobs.db`` or ``memory://``, or an open store, which is closed too.
            runtime: the interface to time and tasks. By default the running asyncio loop.
            perform: performs the runs' effects, ``perform(instruction, services, execute)``. By default each calls its
                service. The testing kit records effects and injects faults here.
            run_ended: called with every program's end, ``run_ended(execute, exit)``. For the testing kit.
            on_locked: the reaction if another engine owns the file: ``raise``, or ``wait``: stand by, and take over
                when that engine has ended. The services are opened afterwards.
            debug: find programs that a hook builds and never runs (a forgotten ``yield from``), and states and events
                that it changes in place, and log each location once, as an error. The engine inspects a sample: the
                first 32 runs for each hook and event class, then one in 64.
            mistake_found: called with each mistake instead of the log, and every run is inspected. For the testing kit.
            draws: draw random numbers and ids for decisions, instead of the runtime. For rehearsals, which draw the
                same ones for an instance, whatever others do.
        """
        return OpenApp(self, store, runtime, perform, run_ended, on_locked, debug, mistake_found, draws)


@attrs.define
class OpenApp(AsyncContextGuard):
    """The context manager that ``App.open`` returns.

    Attributes:
        runtime: the runtime. None for the running event loop.
        run_ended: called with every program's end.
        on_locked: the reaction if another engine owns the store.
        debug: whether to find mistakes in hooks.
        mistake_found: called with each mistake instead of the log.
        draws: draw random numbers and ids for decisions. None: the runtime does.
    """

    usage: ClassVar[str] = "async with app.open(store) as jobs:"

    app: App[Any]
    store: str | Store
    runtime: Runtime | None
    perform: Perform = perform_directly
    run_ended: RunEnded | None = None
    on_locked: OnLocked = "raise"
    debug: bool = True
    mistake_found: MistakeFound | None = None
    draws: Draws | None = None
    _stack: AsyncExitStack = attrs.Factory(AsyncExitStack)

    def __repr__(self) -> str:
        store = redacted_url(self.store) if isinstance(self.store, str) else self.store
        return shortened(f"<{type(self).__name__} of {self.app!r} on {excerpt(store)}>", MAX_LINE_CHARACTERS)

    async def __aenter__(self) -> Client:
        async with AsyncExitStack() as stack:
            runtime = self.runtime or _asyncio_runtime(self.app.limits)
            keys = encryption_of(self.app)
            store = await _opened(self.store, runtime, self.on_locked)
            stack.push_async_callback(_close, store)
            if isinstance(self.store, str) and (warning := await key_warning(store, keys)) is not None:
                runtime.log(warning)
            if self.app.left_out and store.sharing is None:
                fields = {"jobs": ", ".join(map(":".join, self.app.left_out)), "store": store.name}
                runtime.log(LogRecord("warning", "jobs are left out, and no other engine shares the store", fields))
            cache = InstanceCache(store if keys is None else encrypted_store(store, keys), sizes=runtime.sizes)
            store = keeping_attributes(cache.shown(), self.app.served, runtime.sizes)
            _check_capabilities(store, self.app.served)
            services = await _entered(self.app.services, stack)
            _check(services, self.app.served)
            sinks, started = OpenSinks(runtime), list[RunningEngine]()
            for sink in self.app.sinks:
                view = EngineView(
                    store=store,
                    runtime=runtime,
                    jobs=self.app.served,
                    in_flight=lambda: started[0].in_flight() if started else InFlight(),
                    limits_in_use=lambda: started[0].limits_in_use() if started else {},
                    limits=self.app.limits,
                    lags=sinks.lags,
                    report=sinks.tell,
                )
                sinks.add(sink.name, await _watching(sink, view, stack))
            engine = running_engine(
                store,
                runtime,
                services,
                self.app.limits,
                self.app.served,
                ensured=tuple(self.app.ensured.values()),
                perform=self.perform,
                run_ended=self.run_ended,
                hook_checks=self._hook_checks(runtime) if self.debug else None,
                draws=self.draws,
                sinks=sinks,
                cache=cache,
            )
            engine.left_out = self.app.left_out
            started.append(engine)
            stack.push_async_callback(engine.stop)
            await engine.start()
            self._stack = stack.pop_all()
        return Client(LocalGateway(engine))

    def _hook_checks(self, runtime: Runtime) -> HookChecks:
        found = self.mistake_found
        return HookChecks(MistakeLog(runtime)) if found is None else HookChecks(found, one_of=1)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)


def with_services(app: App[Any], services: R) -> App[R]:
    """Return the app with other services, such as fakes.

    Raises:
        DefinitionError: the services lack a member that a job needs.
    """
    other: Any = App(services, limits=app.limits, encryption=app.encryption).with_jobs(*app.served.values())
    changed: App[R] = other._changed(ensured=app.ensured, sinks=app.sinks)  # noqa: SLF001 - of this module
    return changed


def for_tests(app: App[R]) -> App[R]:
    """Return the app as the testing kit runs it: its stores keep plain data, and no sink reaches the network."""
    sinks = tuple(sink for sink in app.sinks if getattr(sink, "reach", "process") != "network")
    changed: App[R] = cast("Any", app)._changed(encryption=None, sinks=sinks)  # noqa: SLF001 - of this module
    return changed


def for_rehearsal(app: App[R], services: object, *, engines: int = 1, history: str = "0 ms") -> App[R]:
    """Return the app as a rehearsal runs it: with these services, plain data, and no sinks.

    Args:
        app: the app.
        services: the services.
        engines: for how many engines the slots of the app and of its jobs are. Slots for each key are those of one.
        history: how long the history is kept. By default there is none.

    Raises:
        DefinitionError: the services lack a member that a job needs.
    """
    limits = attrs.evolve(app.limits, history_retention=history, concurrency=app.limits.concurrency * engines)
    other: Any = with_services(app, services)
    served = {at: _with_slots(job, engines) for at, job in app.served.items()}
    changed: App[R] = other._changed(encryption=None, sinks=(), limits=limits, served=served)  # noqa: SLF001 - of this module
    return changed


def _with_slots(job: AnyDefinition, engines: int) -> AnyDefinition:
    if engines == 1 or job.plan.runs is None:
        return job
    other = copy.copy(job)
    object.__setattr__(other, "plan", attrs.evolve(job.plan, runs=job.plan.runs * engines))
    return other


def encryption_of(app: App[Any]) -> Encryption | None:
    """Return an app's keys. None if it does not encrypt.

    Raises:
        DefinitionError: its function did not return an `Encryption`.
    """
    given = cast("object", app.encryption)
    keys = given() if callable(given) else given
    if keys is None or isinstance(keys, Encryption):
        return keys
    expected = "an Encryption, or a function that returns one, such as Encryption.from_environment"
    raise DefinitionError("encryption of the app", type(keys), expected)


async def _opened(store: str | Store, runtime: Runtime, on_locked: OnLocked) -> Store:
    if isinstance(store, Store):
        if on_locked != "raise":
            raise DefinitionError("on_locked of an app", on_locked, "'raise': the store is already open")
        return store
    from perdure.stores.url import open_store  # noqa: PLC0415 - drivers are imported when they are used

    return await open_store(store, runtime=runtime, on_locked=on_locked)


async def _entered(services: Any, stack: AsyncExitStack) -> Any:  # the user's own record
    if not callable(services):
        return services
    manager = cast("Callable[[], Any]", services)()
    if not isinstance(manager, AbstractAsyncContextManager):
        raise DefinitionError(
            "services of the app", manager, "a record, or a function that returns an async context manager"
        )
    return await stack.enter_async_context(cast("AbstractAsyncContextManager[Any]", manager))


async def _watching(sink: EventSink, engine: EngineView, stack: AsyncExitStack) -> OpenSink:
    """Open a sink until the stack ends. An exception at its end is logged: the engine's work is done by then."""
    context = sink.open(engine)
    if not isinstance(cast("object", context), AbstractAsyncContextManager):
        raise DefinitionError(f"sink {sink.name}", context, "a function open that returns an async context manager")
    opened = await context.__aenter__()

    async def end(
        kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await context.__aexit__(kind, error, traceback)
        except Exception as raised:  # noqa: BLE001 - a sink must not harm the engine
            if raised is not error:
                fields = {"sink": sink.name, "error": excerpt(raised)}
                engine.runtime.log(LogRecord("error", "sink raised an exception when it was closed", fields))

    stack.push_async_exit(end)
    return opened


def _check(services: object, served: Mapping[tuple[str, str], AnyDefinition]) -> None:
    for (kind, name), job in served.items():
        check_services(services, job.plan.needs, job=f"{kind}:{name}")


def _check_capabilities(store: Store, served: Mapping[tuple[str, str], AnyDefinition]) -> None:
    """Refuse a job whose journal, attributes or history the store would not keep."""
    for (kind, name), job in served.items():
        if job.keeps_journal and store.journal is None:
            raise DefinitionError(f"store of {kind}:{name}", store.name, "a store that keeps journals")
        if (job.plan.streams or job.plan.heartbeats) and store.streams is None:
            raise DefinitionError(f"store of {kind}:{name}", store.name, "a store that keeps streams and heartbeats")
        if job.plan.attributes and store.attributes is None:
            raise DefinitionError(f"store of {kind}:{name}", store.name, "a store that keeps attributes")
        if job.plan.history is not None and store.histories is None:
            raise DefinitionError(f"store of {kind}:{name}", store.name, "a store that keeps histories")


async def _close(store: Store) -> None:
    result_inside(await store.close())


def _asyncio_runtime(limits: Limits) -> Runtime:
    from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - `import perdure` needs no event loop

    return asyncio_runtime(threads=limits.threads, processes=limits.processes)
