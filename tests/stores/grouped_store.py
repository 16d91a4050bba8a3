"""A store that is called only as the engine calls it: all commits and loads of a moment go through one call."""

import attrs
from one_by_one import each_commit, each_load

from perdure.engine.commits import StoreBatcher
from perdure.programs.future import asked
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.contract import overlay
from perdure.stores.values import LoadRequest
from perdure.values.errors import OutcomeUnknown, StoreUnavailable


@attrs.define(eq=False)
class _One:
    request: object
    future: object

    def leave(self):
        return self.request

    def tell(self, _, answer):
        if not self.future.done():
            self.future.set_result(answer)


def grouped(store):
    runtime = asyncio_runtime()
    commits = StoreBatcher(runtime=runtime, send_all=store.commit, lost=OutcomeUnknown)
    loads = StoreBatcher(
        runtime=runtime,
        send_all=store.load,
        lost=lambda reason: StoreUnavailable("load", reason),
    )

    async def through(together, request):
        one = _One(request, runtime.future())
        together.add(one)
        return await one.future

    return overlay(
        store,
        commit=each_commit(lambda transition: asked(through(commits, transition))),
        load=each_load(lambda *wanted: asked(through(loads, LoadRequest(*wanted)))),
    )


class Grouped:
    """A harness over such a store."""

    def __init__(self, harness):
        self._harness = harness
        for name in ("corrupt", "kill"):
            if hasattr(harness, name):
                setattr(self, name, getattr(harness, name))

    async def open(self):
        return grouped(await self._harness.open())

    async def discard(self):
        await self._harness.discard()
