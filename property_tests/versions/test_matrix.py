"""The matrix of versions: engines and clients of two versions of a job, in any order, with kills and retries.

A script is drawn: it rolls forwards and back engine by engine, while clients of both versions send requests. The laws
state the histories that are not allowed.
"""

from __future__ import annotations

from operator import methodcaller

import pytest
from attrs import evolve, frozen
from callers import Caller, Step, steps
from history import Call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import Laws
from rollout import Rollout
from type_pairs import Built, changes, payloads
from versioned_jobs import ADDITIVE, KINDS, Code, Version

from perdure.codecs import Codec
from perdure.testing.profiles import PHASES

EXAMPLES = {"nightly": 300, "ci": 10, "explore": 40, "mutants": 20}.get(settings.get_current_profile_name(), 8)
"""Of each kind: the profile `nightly` draws 1,500 pairs."""

PROFILE = settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in settings().phases if phase in PHASES],
)


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
    """Draw two versions that differ by one to three additive changes."""
    payload = draw(payloads())
    features = draw(st.frozensets(st.sampled_from(ADDITIVE[kind]), max_size=2))
    changed, newer = tuple(sorted(features)), payload
    if not features or draw(st.booleans()):
        change = draw(changes(payload, additive=True))
        changed, newer = (f"payload: {change.name}", *changed), change.model
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


# ---------------------------------------------------------------- tests
def check(pair: Pair, data: st.DataObject) -> None:
    """Play a drawn script with two versions, and check the laws."""
    script = data.draw(st.lists(steps, min_size=3, max_size=14), label="script")
    scene = Rollout(
        pair.kind, {"old": Code(pair.old), "new": Code(pair.new)}, data.draw(st.integers(0, 9), label="seed")
    )
    with scene.cluster:
        play(
            scene, script, Caller(scene, lambda age: data.draw(scene.codes[age].built.values, label=f"payload, {age}"))
        )
        scene.replace_all("new")
        settle(scene)
        assert scene.parked == []
        Laws(scene).check()


@pytest.mark.parametrize("kind", KINDS)
@PROFILE
@given(data=st.data())
def test_an_app_may_serve_a_further_job(kind: str, data: st.DataObject) -> None:
    """Rolling forwards and back, with kills: no acknowledged request is lost, and each repeat keeps its key."""
    old = Version(data.draw(payloads(), label="payload"))
    check(Pair(kind, old, evolve(old, features=frozenset({"new job"})), ("new job",)), data)


@settings(PROFILE, max_examples=5 * EXAMPLES)
@given(data=st.data())
def test_newer_code_reads_values_of_older_code(data: st.DataObject) -> None:
    pair = data.draw(additive_pairs(data.draw(st.sampled_from(KINDS))), label="pair")
    old, new = Built(pair.old.payload), Built(pair.new.payload)
    written = Codec.of(old.form, what="payload").encode(data.draw(old.values))
    Codec.of(new.form, what="payload").decode(written)
