"""Any mix of attackers beside one healthy client: it is served, and the server holds no more than its limits."""

import asyncio
from typing import Any

import pytest
from hostile import ATTACKS, JOB, OF_ATTACKERS, Scene, batch, request, under_attack
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_http import status_of

PLACED = b'{"type":"OrderPlaced","owner":"ada","amount":4}'
HEALTHY = {
    "live": request("GET", "/live"),
    "ready": request("GET", "/ready"),
    "send": request("POST", f"{JOB}/b/send", PLACED, token="healthy"),  # noqa: S106
    "list": request("GET", "/v1/instances", token="healthy"),  # noqa: S106
    "state": request("GET", f"{JOB}/b/state", token="healthy"),  # noqa: S106
    "wait": request("GET", f"{JOB}/a/wait?until=parked&timeout=0+ms", token="healthy"),  # noqa: S106
    "batch": request("POST", "/v1/calls", batch(*[{"action": "status"}] * 3), token="healthy"),  # noqa: S106
}

steps = st.one_of(
    st.tuples(st.just("attack"), st.sampled_from(list(ATTACKS)), st.integers(1, 6)),
    st.tuples(st.just("reconnect"), st.sampled_from(["wait", "lists", "batch that is not read"]), st.integers(1, 9)),
    st.tuples(st.just("leave"), st.integers(0, 40), st.just(1)),
    st.tuples(st.just("healthy"), st.sampled_from(list(HEALTHY)), st.just(1)),
)


@settings(max_examples=15)
@given(st.lists(steps, min_size=3, max_size=12))
@example([("attack", name, 3) for name in ATTACKS] + [("healthy", name, 1) for name in HEALTHY])
@example([("attack", "wait", 3), ("reconnect", "wait", 9), ("healthy", "wait", 1), ("reconnect", "wait", 9)])
def test_a_healthy_client_is_served_beside_any_attackers(drawn: list[tuple[str, Any, int]]):
    async def main() -> None:
        async with under_attack() as scene:
            for kind, chosen, count in drawn:
                match kind:
                    case "attack":
                        for _ in range(count):
                            await scene.attack(chosen)
                    case "reconnect":
                        for _ in range(count):
                            await scene.reconnect(chosen)
                    case "leave" if scene.writers:
                        scene.writers[chosen % len(scene.writers)].transport.abort()
                    case "healthy":
                        await served(scene, chosen)
                    case _:
                        continue
                assert scene.beyond() == {}
            for name in HEALTHY:
                await served(scene, name)
            assert scene.beyond() == {}
            assert await scene.left(), {name: scene.held()[name] for name in OF_ATTACKERS}

    asyncio.run(main())


async def served(scene: Scene, name: str) -> None:
    """Check that a request is answered."""
    status = status_of(await scene.exchange(HEALTHY[name]))
    assert status == 200 or (name == "send" and status == 409), name  # the second order is the job's own refusal


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "lists"])  # which are answered soon
def test_each_attack_alone_is_the_attack_of_its_name(name: str):
    """An attack that the server refuses for another reason would prove nothing."""

    async def main() -> tuple[str, int]:
        async with under_attack() as scene:
            await scene.attack(name)
            for _ in range(50):
                await asyncio.sleep(0.001)
            (connection,) = scene.served.connections.all
            held = scene.held()
            return connection.phase, held["bodies"][0] + held["answers"][0] + held["requests of one"][0]

    phase, held = asyncio.run(main())
    expected = {
        "connection": "idle",
        "headers": "headers",
        "sign-in without an end": "body",
        "body with a token": "body",
    }
    refused = {"probe with a body", "page with a body", "body without a token"}
    assert phase == ("discarding" if name in refused else expected.get(name, "answering"))
    assert (held > 0) == (name in {"body with a token", "wait", "batch that is not read"})
