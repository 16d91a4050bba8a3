"""Ways to break a store: each is a function from a correct store to one that breaks one requirement."""

import attrs
from returns.future import FutureResult

from perdure.testing.conformance import MemoryHarness
from perdure.testing.conformance.assertions import answer


def harness_of(change):
    """Make the class of a harness whose memory store is changed."""

    class Sabotaged(MemoryHarness):
        async def open(self):
            return change(await super().open())

    return Sabotaged


def instead(name, operation):
    """Replace one function of a store by one that also gets the store."""
    return lambda store: attrs.evolve(store, **{name: lambda *given: operation(store, *given)})


def instead_async(name, operation):
    """Replace one function of a store by a coroutine function that also gets the store, and returns a ``Result``."""
    return instead(name, lambda store, *given: FutureResult(operation(store, *given)))


def with_commit(change):
    """Change the transition."""
    return instead("commit", lambda store, transition: store.commit(change(transition)))


def of_answer(name, change):
    """Change the answer of an operation."""

    async def asked(store, *given):
        return (await answer(getattr(store, name)(*given))).map(change)

    return instead_async(name, asked)
