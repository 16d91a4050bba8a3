"""Ways to break a store: each is a function from a correct store to one that breaks one requirement."""

from functools import partial
from operator import attrgetter

from one_by_one import each_commit, each_load
from returns.future import FutureResult

from perdure.stores.contract import commit_one, load_one, overlay
from perdure.testing.conformance import MemoryHarness
from perdure.testing.conformance.assertions import answer


def harness_of(change):
    """Make the class of a harness whose memory store is changed."""

    class Sabotaged(MemoryHarness):
        async def open(self):
            return change(await super().open())

    return Sabotaged


def instead(name, operation):
    """Replace one function of a store by one that also gets the store; of a batch, by one of a single request."""

    def change(store):
        def of_store(*given):
            return operation(store, *given)

        batched = {"load": each_load, "commit": each_commit}.get(name)
        return replaced(store, name, of_store if batched is None else batched(of_store))

    return change


def replaced(store, name, function):
    """Replace a function of a store, or of a capability: ``lanes.queued``."""
    capability, _, last = name.rpartition(".")
    if not capability:
        return overlay(store, **{name: function})
    return overlay(store, **{capability: overlay(getattr(store, capability), **{last: function})})


def instead_async(name, operation):
    """Replace one function of a store by a coroutine function that also gets the store, and returns a ``Result``."""
    return instead(name, lambda store, *given: FutureResult(operation(store, *given)))


def with_commit(change):
    """Change the transition."""
    return instead("commit", lambda store, transition: commit_one(store, change(transition)))


def of_answer(name, change):
    """Change the answer of an operation."""

    async def asked(store, *given):
        operation = partial(load_one, store) if name == "load" else attrgetter(name)(store)
        return (await answer(operation(*given))).map(change)

    return instead_async(name, asked)
