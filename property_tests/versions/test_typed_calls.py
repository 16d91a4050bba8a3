"""A client and a server of two versions: a call compares the values that it carries, and loses none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from attrs import define, frozen
from hypothesis import event, given
from hypothesis import strategies as st
from returns.result import Failure, Success
from type_pairs import Built, changes

from perdure import App, Decision, Task
from perdure.client.client import Client, gateway_of
from perdure.client.gateway import attempt
from perdure.codecs import Codec, fingerprint
from perdure.jobs.request import Request
from perdure.remote.async_channel import AsyncClientRuntime
from perdure.remote.connecting import settings
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.calls import perform
from perdure.values.errors import InvalidInput, Undecodable
from perdure.wire.requests import BatchReply, Envelope, envelope_of, reply_of

SCOPES = frozenset({"read", "call", "operate"})


@frozen
class Pair:
    """Two versions of a record, and a value of each that means the same.

    Attributes:
        old: the older version.
        new: the newer one.
        changed: the change, in words.
    """

    old: Built
    new: Built
    changed: str


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Draw a record and an additive change of it."""
    chain = draw(changes(additive=True, most=2))
    return Pair(Built(chain.old), Built(chain.new), ", ".join(chain.names))


def codec_of(built: Built) -> Codec[Any]:
    return Codec.of(built.form, what="event")


def job_of(built: Built) -> Any:
    """Return a job whose state has its last event."""
    form: Any = built.form
    last: Any = tuple[form, ...]
    return Task("last", state=last, event=form, initial=(), decide=lambda _, given_: Success(Decision((given_,))))


@define(eq=False)
class InMemory:
    """The channel to an engine in this process: requests and answers cross as JSON."""

    server: Client
    lines: int = 0

    async def call(self, envelope: Envelope, _: float, /) -> BatchReply:
        """Perform a request."""
        self.lines += 1
        given_ = envelope_of(envelope.encoded(), where="line")
        reply = reply_of(await perform(cast("Any", gateway_of(self.server)), given_, SCOPES))
        assert reply is not None
        return reply

    async def http(self, *_: Any) -> Any:
        """Refuse: no law needs such a request."""
        raise NotImplementedError


@asynccontextmanager
async def served(server_job: Any, *client_jobs: Any) -> AsyncGenerator[tuple[Client, list[Any]]]:
    """Open an engine of one version, with clients of others."""
    async with App(None).with_jobs(server_job).open("memory://") as local:
        runtime = AsyncClientRuntime(asyncio_runtime())

        def handle_of(job: Any) -> Any:
            given_ = settings(
                "http://engine",
                [job],
                token=None,
                timeout="9 s",
                wait_timeout="9 s",
                max_connections=1,
                draw_keys=False,
            )
            return Client(given_.gateway(lambda _: InMemory(local), runtime)).handle(job)

        yield local, [handle_of(job) for job in client_jobs]


def names_a_place(error: Any) -> bool:
    """Return whether an error says where the part is that was not read."""
    return isinstance(error, InvalidInput | Undecodable) and all(text.startswith("$") for text in error.problems)


@given(pairs(), st.data())
def test_a_server_takes_every_call_of_an_older_client(pair: Pair, data: st.DataObject) -> None:
    """And its answers and states are read by that, if they carry no class, choice or form that it does not know."""
    value = data.draw(pair.old.values)

    async def main() -> None:
        async with served(job_of(pair.new), job_of(pair.old)) as (_, (client,)):
            assert isinstance(await attempt(client.send("a", value, idempotency_key="k")), Success)
            read = await attempt(client.get_state("a"))
            if isinstance(read, Success):
                assert read.unwrap() == (value,)
            else:
                event(f"state not read: {pair.changed}")
                assert names_a_place(read.failure())
            assert (await attempt(client.status("a"))).unwrap().status == "idle"
            assert (await attempt(client.terminate("a"))).unwrap().terminated

    asyncio.run(main())


@given(pairs(), st.data())
def test_a_server_takes_a_call_of_a_newer_client_whole_or_names_the_part(pair: Pair, data: st.DataObject) -> None:
    old, new = codec_of(pair.old), codec_of(pair.new)
    value = data.draw(pair.new.values)
    whole = new.encode(value)

    def is_known() -> bool:
        with suppress(InvalidInput):
            old.open(whole)
            return not old.unknown(whole) or not old.unknown(new.bare(whole))
        return False

    async def main() -> None:
        async with served(job_of(pair.old), job_of(pair.new)) as (_, (client,)):
            sent = await attempt(client.send("a", value, idempotency_key="k"))
            read = await attempt(client.get_state("a"))
            event(f"{type(sent).__name__}: {pair.changed}")
            assert isinstance(sent, Success) == is_known()
            if isinstance(sent, Failure):
                assert names_a_place(sent.failure())
                assert read == Success(None)  # nothing of it was stored
            else:
                assert read == Success((value,))  # nothing of it was lost
            assert isinstance(await attempt(client.status("a")), Success)
            assert isinstance(await attempt(client.terminate("a")), Success)

    asyncio.run(main())


@given(pairs(), st.data())
def test_one_request_through_an_older_and_a_newer_client_is_one_request(pair: Pair, data: st.DataObject) -> None:
    """Such as a webhook that its sender repeats, and that another web process receives."""
    value = data.draw(pair.old.values)
    newer = codec_of(pair.new).accept(codec_of(pair.old).encode(value))
    server, first = data.draw(st.sampled_from([pair.old, pair.new])), data.draw(st.sampled_from([0, 1]))

    async def main() -> None:
        async with served(job_of(server), job_of(pair.old), job_of(pair.new)) as (_, clients):
            sends = [lambda: clients[0].send("a", value, idempotency_key="k")]
            sends.append(lambda: clients[1].send("a", newer, idempotency_key="k"))
            one, other = [await attempt(sends[at]()) for at in (first, 1 - first)]
            assert isinstance(one, Success), one
            assert other == one

    asyncio.run(main())


@given(pairs(), st.data())
def test_a_repeat_at_an_engine_of_another_version_is_one_request(pair: Pair, data: st.DataObject) -> None:
    """Through any client: also if a member has its default in one of the versions only."""
    value = codec_of(pair.old).encode(data.draw(pair.old.values))
    newer = codec_of(pair.new).encode(codec_of(pair.new).accept(value))
    bare = codec_of(pair.new).bare(newer).decode()
    read = list[tuple[Any, Request]]()
    for engine in (job_of(pair.old), job_of(pair.new)):
        read += [
            (engine, engine.parse("send", value.decode())),
            (engine, engine.parse("send", newer.decode(), bare=bare)),
        ]
    for first, request in read:
        digest = first.fingerprint("send", request.payload)
        assert all(engine.is_repeat(digest, "send", repeat.payload) for engine, repeat in read)
        assert not any(
            engine.is_repeat(fingerprint(digest.encode().join((b'"', b'"'))), "send", repeat.payload)
            for engine, repeat in read
        )
