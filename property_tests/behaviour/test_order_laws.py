"""Order: messages of a pair, and requests under way together, are applied as they were sent, each exactly once."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from machine import Break, End, Say, Tell, app, machine, steps
from world import World, play

MINUTE = 60

sendings = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), max_size=6)
mishaps = st.sampled_from(["none", "refuse", "crash", "pause"])


@given(sendings, mishaps)
def test_messages_of_a_pair_arrive_once_and_in_order(given_sendings, mishap):
    """`Order is kept per (sender, receiver)`, also when a delivery breaks, or the process ends."""

    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside))).handle(machine)
        await world.run(jobs.send("c", steps()))
        if mishap == "pause":
            await world.run(jobs.pause("c"))
        if mishap == "refuse":
            world.outside.breaks = {"a 0", "b 1"}
        sent: dict[str, list[str]] = {"a": [], "b": []}
        for sender, count in given_sendings:
            words = [f"{sender} {len(sent[sender]) + number}" for number in range(count)]
            sent[sender] += words
            await world.run(jobs.send(sender, steps(*(Tell("c", (Say(word),)) for word in words))))
        if mishap == "crash":
            await world.crash()
            await world.open(app(world.outside))
        await world.advance(s=1)
        world.outside.breaks = set()
        await world.advance(hours=1)
        heard = world.outside.heard
        arrived = list(dict.fromkeys(reversed(heard)))[::-1]  # what broke was said before
        for sender, words in sent.items():
            assert [word for word in arrived if word[0] == sender] == words
        assert await world.messages() == ()
        if mishap in ("none", "pause"):
            assert len(heard) == len(arrived), "a message was applied twice"
        broken = {"a 0", "b 1"} & set(heard) if mishap == "refuse" else set()
        assert all(heard.count(word) >= 2 for word in broken), "a message that its target broke on was not tried again"

    play("memory", Path(), scenario)


@given(st.lists(st.sampled_from(["quiet", "loud"]), min_size=1, max_size=8))
def test_requests_under_way_together_are_applied_in_their_order(kinds):
    """`Requests that are under way at once are applied in the order in which the engine got them.`"""

    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside))).handle(machine)
        words = [f"{kind} {number}" for number, kind in enumerate(kinds)]
        world.suspension("first")
        world.start(jobs.send("a", steps(Say("first"))))
        for word in words:  # each waits behind the others
            await world.settle()
            world.start(jobs.send("a", steps(Say(word))))
        await world.settle()
        world.release("first")
        await world.settle()
        assert world.outside.heard == ["first", *words]

    play("memory", Path(), scenario)


@given(st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_an_instance_that_ends_drops_its_messages_to_itself_and_nothing_else(own, others, held):
    """A turn that terminates drops its messages to itself; its messages to others are delivered."""

    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside))).handle(machine)
        told = [Tell("a", (Say(f"own {number}"),)) for number in range(own)]
        told += [Tell("b", (Say(f"other {number}"),)) for number in range(others)]
        if held:
            await world.run(jobs.send("a", steps(Say("busy"))))
        await world.run(jobs.send("a", steps(*told, End())))
        await world.advance(s=MINUTE)
        heard = [word for word in world.outside.heard if word != "busy"]
        assert heard == [f"other {number}" for number in range(others)]
        assert await world.run(jobs.get_state("a")) is None

    play("memory", Path(), scenario)


@given(st.integers(1, 4))
def test_an_ended_instance_drops_its_waiting_messages_to_itself(own):
    """Its earlier messages to itself are deleted with it: none reaches its successor."""

    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside))).handle(machine)
        world.outside.breaks = {"own"}
        await world.run(jobs.send("a", steps(*(Tell("a", (Say("own"), Break())) for _ in range(own)))))
        await world.run(jobs.terminate("a"))
        world.outside.breaks, before = set(), len(world.outside.heard)
        await world.advance(hours=1)
        assert len(world.outside.heard) == before
        assert await world.run(jobs.get_state("a")) is None

    play("memory", Path(), scenario)
