"""The matrix of versions: engines and clients of two versions of a job, in any order, with kills and retries.

A script is drawn: it rolls forwards and back engine by engine, while clients of both versions send requests. The laws
state the histories that are not allowed.
"""

from __future__ import annotations

import re
from itertools import cycle
from operator import methodcaller
from typing import Any

import pytest
from attrs import evolve, frozen
from callers import Caller, Step, steps
from history import Age, Call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import Laws, wholly
from returns.result import Success
from rollout import Rollout
from type_pairs import INT, Built, Field, Record, Scalar, changes, payloads
from versioned_jobs import ADDITIVE, BREAKING, KINDS, Code, Version

from perdure import App, Decision, Limits, Schedules, Task, every, tell
from perdure.cli.inspection.check import changes as deploy_changes
from perdure.cli.inspection.check import order_of, types_of
from perdure.codecs import Codec
from perdure.testing.cluster import Cluster
from perdure.testing.machine import PHASES
from perdure.values.answer import Done
from perdure.values.errors import InstanceParked

NIGHTLY = settings.get_current_profile_name() == "nightly"
EXAMPLES = {"nightly": 300, "ci": 10, "explore": 40, "mutants": 20}.get(settings.get_current_profile_name(), 8)
"""Additive pairs of each kind: the profile `nightly` draws 1,500."""

PROFILE = settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in settings().phases if phase in PHASES],
)
FEWER = settings(PROFILE, max_examples=EXAMPLES // 2)


# ---------------------------------------------------------------- pairs and scripts
@frozen
class Pair:
    """Two versions of a job.

    Attributes:
        kind: its kind.
        old: the older version.
        new: the newer one.
        changed: the changes, in words.
    """

    kind: str
    old: Version
    new: Version
    changed: tuple[str, ...]


@st.composite
def additive_pairs(draw: st.DrawFn, kind: str) -> Pair:
    """Draw two versions that differ by one to four additive changes."""
    payload = draw(payloads())
    features = draw(st.frozensets(st.sampled_from(ADDITIVE[kind]), max_size=2))
    changed, newer = tuple(sorted(features)), payload
    if not features or draw(st.booleans()):
        chain = draw(changes(payload, additive=True, most=2))
        changed, newer = (*(f"payload: {name}" for name in chain.names), *changed), chain.new
    return Pair(kind, Version(payload), Version(newer, features), changed)


def play(scene: Rollout, script: list[Step], caller: Caller) -> None:
    """Play a script, and end it with newer engines alone."""
    for _ in range(2):
        scene.open("old")
    for step in script:
        match step.do:
            case "roll":
                scene.roll(step.age)
            case "crash":
                scene.cluster.up[step.at % len(scene.cluster.up)].crash()
                if not scene.cluster.up:
                    scene.open(step.age)
            case "refuse":
                scene.outside.refuse_next = step.at + 1
            case _:
                getattr(caller, step.do)(step)
        scene.advance(f"{step.ms + 1} ms")


def settle(scene: Rollout) -> None:
    """Let everything end: retries that are used up are resumed by an operator."""
    assert scene.finished(), [call.name for call in scene.calls if call.state == "open"]
    for _ in range(4):
        scene.advance("20 s")
        for row in scene.cluster.instances():
            if row.suspension in {"retries_exhausted", "not_retryable"}:
                scene.start(Call(f"resume of {row.address}", "new"), methodcaller("resume", row.address.id))
        assert scene.finished()


NEVER_LEFT = {
    "payload: a field with a default",
    "new job",
    *(each for each in sum(ADDITIVE.values(), ()) if "field" in each),
}
"""The changes with which older code always continues, unless it finds equal members of a set."""


@st.composite
def breaking_pairs(draw: st.DrawFn, kind: str) -> Pair:
    """Draw two versions that differ by one breaking change, without a version of the state."""
    payload = draw(payloads())
    if BREAKING[kind] and draw(st.booleans()):
        feature = draw(st.sampled_from(BREAKING[kind]))
        return Pair(kind, Version(payload), Version(payload, frozenset({feature})), (feature,))
    chain = draw(changes(payload, additive=False))
    return Pair(kind, Version(payload), Version(chain.new), (f"payload: {chain.names[0]}",))


# ---------------------------------------------------------------- tests
def scene_of(pair: Pair, data: st.DataObject, *, upgrades: bool = False) -> Rollout:
    """Return the scene of two versions."""
    old = Code(pair.old)
    new = Code(pair.new, old if upgrades else None)
    seed = data.draw(st.integers(0, 9), label="seed")
    return Rollout(
        pair.kind,
        {"old": old, "new": new},
        seed,
        data.draw(known_addresses, label="clients"),
        draws_keys=data.draw(st.booleans(), label="clients draw keys"),
        limits=data.draw(limits, label="limits"),
    )


known_addresses = st.sampled_from(["balancer", "addresses"])
few = st.integers(1, 3)
limits = st.just(Limits()) | st.builds(
    Limits,
    alarm_batch=few,
    replay_chunk=few,
    journal_page=few,
    message_batch=few,
    recovery_page=few,
    queued_items=few,
    lane_page=few,
    concurrency=st.integers(2, 4),
)
"""The defaults, or so small that each history crosses each chunk and page."""


def play_drawn(scene: Rollout, data: st.DataObject) -> None:
    """Play a drawn script, and perhaps roll everything forwards and back; end with newer engines alone."""
    script = data.draw(st.lists(steps, min_size=3, max_size=14), label="script")
    keyed = data.draw(st.booleans(), label="a key on every request")
    values = {age: code.built.values for age, code in scene.codes.items()}
    play(scene, script, Caller(scene, lambda age: data.draw(values[age], label=f"payload, {age}"), keyed))
    if data.draw(st.booleans(), label="back once more"):
        scene.replace_all("new")
        scene.replace_all("old")
    scene.replace_all("new")


def check(scene: Rollout, data: st.DataObject, *, compatible: bool = True) -> None:
    """Play a drawn script, and check the laws."""
    with scene.cluster:
        play_drawn(scene, data)
        settle(scene)
        assert scene.parked == []
        assert [row for row in scene.cluster.instances() if row.left is not None] == [], "newer code reads everything"
        assert scene.cluster.inspect(lambda store: store.dead_letters(0, 9)) == ()
        Laws(scene, compatible).check()


@pytest.mark.parametrize("kind", KINDS)
@PROFILE
@given(data=st.data())
def test_additive_changes_are_compatible_in_both_directions(kind: str, data: st.DataObject) -> None:
    """Nothing parks, no acknowledged request is lost, no call of known types fails, and each effect keeps its key."""
    pair = data.draw(additive_pairs(kind), label="pair")
    scene = scene_of(pair, data)
    check(scene, data)
    if {*pair.changed} <= NEVER_LEFT and "frozenset" not in repr(pair.old):
        assert scene.left == [], "older code continues with new fields"


FOUND: dict[str, tuple[str, list[Step]]] = {
    "an event for a task whose retries are used up": (
        "task",
        [
            Step("request", "old", at=0, keyed=False, form=0, ms=300),
            Step("refuse", "old", at=2, keyed=False, form=0, ms=2_500),
            Step("read", "old", at=0, keyed=False, form=0, ms=2_500),
            Step("request", "old", at=0, keyed=False, form=1, ms=0),
            Step("request", "new", at=0, keyed=True, form=1, ms=0),
        ],
    ),
}
"""Scripts that the drawn tests have found, each with its kind."""


@pytest.mark.parametrize("name", FOUND)
def test_the_laws_hold_for_scripts_that_were_found(name: str) -> None:
    kind, script = FOUND[name]
    scene = Rollout(kind, {"old": Code(Version(ONE_FIELD)), "new": Code(Version(WITH_A_FIELD))})
    with scene.cluster:
        play(scene, script, Caller(scene, lambda age: scene.codes[age].built.form(f0=1)))
        scene.replace_all("new")
        settle(scene)
        assert any(isinstance(each.error, InstanceParked) for call in scene.calls for each in call.tries)
        Laws(scene).check()


@pytest.mark.parametrize("kind", ["task", "debounce", "continuous"])
@FEWER
@given(data=st.data())
def test_older_engines_leave_states_of_a_newer_version(kind: str, data: st.DataObject) -> None:
    """A breaking change with a version: a rollback parks nothing, and newer engines continue everything."""
    old = Version(data.draw(payloads(), label="payload"))
    feature = data.draw(st.sampled_from(BREAKING[kind]), label="change")
    pair = Pair(kind, old, evolve(old, features=frozenset({feature})), (feature,))
    check(scene_of(pair, data, upgrades=True), data, compatible=False)


@pytest.mark.parametrize("kind", KINDS)
@FEWER
@given(data=st.data())
def test_a_breaking_change_without_a_version_parks_nothing(kind: str, data: st.DataObject) -> None:
    """Each version leaves to the other one the instances that it cannot read, and no acknowledged request is lost."""
    pair = data.draw(breaking_pairs(kind), label="pair")
    scene = scene_of(pair, data)
    with scene.cluster:
        play_drawn(scene, data)
        assert scene.finished()
        for age in ("old", "new"):
            scene.replace_all(age)
            scene.advance("10 s")
        assert scene.parked == []
        Laws(scene, compatible=False).every_repeat_has_its_key()
        missing = [call.name for call in scene.calls if call.state == "answered" and not is_stored(scene, call)]
        assert missing == [], "an acknowledged request was lost"


def is_stored(scene: Rollout, call: Call) -> bool:
    """Return whether a request is in the stored instance, or in a batch that was flushed."""
    if not call.name.startswith("request"):
        return True
    rows = [row for row in scene.cluster.instances() if row.address.id == call.id]
    if scene.kind not in {"task", "debounce"}:
        return rows != []
    stored = " ".join(f"{row.state} {row.data}" for row in rows)
    numbers = set(re.findall(r"\d+", " ".join(re.findall(r'seen\\*":\[([\d,]*)', stored))))
    flushed = {number for work in scene.keys if work.startswith("batch") for number in work.split(" of ")[0].split()}
    return str(call.number) in numbers | flushed


@settings(PROFILE, max_examples=5 * EXAMPLES)
@given(data=st.data())
def test_newer_code_reads_values_of_older_code(data: st.DataObject) -> None:
    pair = data.draw(additive_pairs(data.draw(st.sampled_from(KINDS))), label="pair")
    old, new = Built(pair.old.payload), Built(pair.new.payload)
    written = Codec.of(old.form, what="payload").encode(data.draw(old.values))
    wholly(Codec.of(new.form, what="payload"), written)


@settings(PROFILE, max_examples=5 * EXAMPLES)
@given(data=st.data())
def test_the_check_before_a_deploy_finds_the_changes_that_need_a_version(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    is_additive = data.draw(st.booleans(), label="additive")
    pair = data.draw(additive_pairs(kind) if is_additive else breaking_pairs(kind), label="pair")
    old, new = types_of([Code(pair.old).job(kind)]), types_of([Code(pair.new).job(kind)])
    found = deploy_changes(old, new)
    assert (order_of(found) != "needs a version") == is_additive, found


# ---------------------------------------------------------------- a kind that older code does not know
def minutes(seen: tuple[str, ...], at: str) -> Success[Decision[tuple[str, ...]]]:
    return Success(Decision((*seen, at)))


@pytest.mark.parametrize("beside", ["beside a newer engine", "alone for a while"])
def test_older_code_leaves_schedules_to_newer_code(beside: str) -> None:
    """Each instant is sent once. Without newer code none is, and afterwards the schedule catches up."""
    notes = Task("notes", state=tuple[str, ...], event=str, initial=(), decide=minutes)
    plain = Schedules("plain", targets=(notes,))
    old, new = App(None).with_jobs(notes), App(None).with_jobs(notes, plain)
    with Cluster(new, seed=1) as cluster:
        older, newer = cluster.open(old), cluster.open()
        timing, begun_ms = every("5 seconds", align="start", catch_up="all"), cluster.now_ms
        cluster.run_on(newer, lambda jobs: jobs.handle(plain).put("s", timing, tell(notes, "n").send("at")))
        cluster.advance("12 s")
        if beside == "alone for a while":
            newer.crash()
            cluster.advance("20 s")
            row = next(row for row in cluster.instances() if row.address.id == "s")
            assert (row.left, row.suspension) == (None, None)
            cluster.open()
        cluster.advance("30 s")
        found = cluster.run_on(older, lambda jobs: jobs.handle(notes).get_state("n"))
        assert found is not None
        assert (cluster.now_ms - begun_ms) // 5_000 - 1 <= len(found) <= (cluster.now_ms - begun_ms) // 5_000


# ---------------------------------------------------------------- one rollback
ONE_FIELD = Record("C1", (Field("f0", INT),))


def rolled_back(kind: str, payload: Record, features: frozenset[str], **value: Any) -> Rollout:
    """Kill a newer engine in the middle of its work, and let an older one run for ten seconds."""
    scene = Rollout(kind, {"old": Code(Version(ONE_FIELD)), "new": Code(Version(payload, features))})
    caller = Caller(scene, lambda age: scene.codes[age].built.form(**value))
    newer, scene.outside.refuse_next = scene.open("new"), 1
    for form in range(3):
        caller.request(Step("request", "new", at=1, keyed=True, form=form, ms=0))
    scene.advance("600 ms")
    newer.crash()
    scene.open("old")
    scene.advance("10 s")
    return scene


FLOAT = Record("C1", (Field("f0", Scalar(("float",))),))
WITH_A_FIELD = Record("C1", (*ONE_FIELD.fields, Field("new", INT, default=True)))
KNOWN: list[tuple[Record, dict[str, Any]]] = [(WITH_A_FIELD, {"f0": 1, "new": 2}), (FLOAT, {"f0": 2.0})]
UNKNOWN: list[tuple[Record, dict[str, Any]]] = [
    (Record("C1", (Field("f0", Scalar(("int", "str"))),)), {"f0": "x"}),
    (FLOAT, {"f0": 2.5}),
]
"""Newer payloads and their values: of some, older code knows all that it needs."""


@pytest.mark.parametrize(("payload", "value"), KNOWN, ids=["field", "whole-float"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_older_engine_continues_the_work_of_a_newer_one(kind: str, payload: Record, value: dict[str, Any]) -> None:
    scene = rolled_back(kind, payload, frozenset(ADDITIVE[kind]) & NEVER_LEFT, **value)
    with scene.cluster:
        assert scene.left == []
        assert not any(row.status == "running" for row in scene.cluster.instances())
        scene.replace_all("new")
        settle(scene)
        Laws(scene).check()


@pytest.mark.parametrize(("payload", "value"), UNKNOWN, ids=["form", "fraction"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_engine_takes_up_the_work_that_an_older_one_left(
    kind: str, payload: Record, value: dict[str, Any]
) -> None:
    scene = rolled_back(kind, payload, frozenset(), **value)
    with scene.cluster:
        assert scene.left != []
        assert scene.parked == []
        scene.replace_all("new")
        settle(scene)
        assert [row for row in scene.cluster.instances() if row.left is not None] == []
        Laws(scene).check()


@pytest.mark.parametrize("kind", ["pool", "workflow"])
def test_a_result_of_older_code_has_the_members_that_newer_code_wrote(kind: str) -> None:
    """An object of the item, or of the signal, keeps them in the result."""
    scene = rolled_back(kind, WITH_A_FIELD, frozenset(), f0=1, new=2)
    with scene.cluster:
        assert scene.left == []
        ids = [call.id for call in scene.calls if call.name.startswith("request")]
        results = [scene.ask(methodcaller("outcome", id_)).value.payload for id_ in ids]
        assert {(result.f0, result.new) for result in results} == {(1, 2)}


WITH_DEFAULTS = Record("C1", (Field("f0", INT, default=True), Field("new", INT, default=True)))


@pytest.mark.parametrize("client", ["old", "new"])
@pytest.mark.parametrize("first", ["old", "new"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_repeat_at_an_engine_of_the_other_version_is_one_request(kind: str, first: Age, client: Age) -> None:
    """Through either client. A member that the older code requires has a default in the newer one, and that value."""
    scene = Rollout(kind, {"old": Code(Version(ONE_FIELD)), "new": Code(Version(WITH_DEFAULTS))})
    caller = Caller(scene, lambda age: scene.codes[age].built.form(f0=0))
    engine = scene.open(first)
    with scene.cluster:
        caller.request(Step("request", client, at=0, keyed=True, form=0, ms=0))
        (call,) = scene.calls
        assert scene.finished()
        scene.advance("3 s")
        engine.crash()
        scene.open("new" if first == "old" else "old")
        for age in ("old", "new"):
            caller.request(Step("request", age, at=0, keyed=True, form=0, ms=0), call.number)
        assert scene.finished()
        for repeat in scene.calls[1:]:
            assert (repeat.state, repeat.tries) == ("answered", [])
            assert repeat.answer.created, "it is the first request"
        del scene.calls[1:]
        scene.replace_all("new")
        settle(scene)
        Laws(scene).check()


SMALL_CHUNKS = Limits(replay_chunk=7, journal_page=5)
LONG = [(1_500, SMALL_CHUNKS), (5_000, Limits())] if NIGHTLY else [(120, SMALL_CHUNKS)]


@pytest.mark.parametrize(("rounds", "limits"), LONG)
def test_a_long_journal_is_continued_by_both_versions_in_turn(rounds: int, limits: Limits) -> None:
    """Each is killed in the middle of the journal that the other one began."""
    newer = Version(WITH_A_FIELD, frozenset(ADDITIVE["workflow"]) & NEVER_LEFT, rounds)
    codes = {"old": Code(Version(ONE_FIELD, rounds=rounds)), "new": Code(newer)}
    scene = Rollout("workflow", codes, limits=limits)
    caller = Caller(scene, lambda age: codes[age].built.form(f0=1))
    kills, ages = 6, cycle(("old", "new"))
    scene.open("new")
    with scene.cluster:
        caller.request(Step("request", "new", at=1, keyed=True, form=0, ms=0))
        for kill in range(1, kills + 1):
            while len(scene.outside.heard) < kill * rounds // (kills + 1):
                scene.advance("1 s")
            scene.cluster.up[0].crash()
            scene.open(next(ages))
        while len(scene.outside.heard) < rounds:
            scene.advance("1 s")
        assert scene.left == []
        scene.replace_all("new")
        settle(scene)
        Laws(scene).check()
        assert rounds <= len([work for work, _ in scene.outside.heard if work.startswith("round")]) <= rounds + kills
        (outcome,) = [scene.ask(methodcaller("outcome", call.id)) for call in scene.calls if call.name == "request 1"]
        assert isinstance(outcome, Done)
