"""The matrix of versions: engines and clients of two versions of a job, in any order, with kills and retries.

A script is drawn: it rolls forwards and back engine by engine, while clients of both versions send requests. The laws
state the histories that are not allowed.
"""

from __future__ import annotations

from collections import Counter
from operator import methodcaller
from typing import Any, Literal

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rollout import Age, Call, Rollout
from type_pairs import Built, changes, payloads
from versioned_jobs import ADDITIVE, ECHO, KINDS, Code, Version

from perdure.codecs import Codec
from perdure.testing.profiles import PHASES
from perdure.values.errors import InvalidInput, SignalRefused, Undecodable
from perdure.values.outcome import Done

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


@frozen
class Step:
    """One step of a script.

    Attributes:
        do: the action.
        age: the version of the client, or of an engine that opens.
        at: which instance, or which engine.
        keyed: whether a request has an idempotency key.
        ms: how much time passes.
    """

    do: Literal["request", "read", "signal", "roll", "crash", "operate", "refuse"]
    age: Age
    at: int
    keyed: bool
    ms: int


steps = st.builds(
    Step,
    do=st.sampled_from(["request", "request", "request", "signal", "read", "roll", "crash", "operate", "refuse"]),
    age=st.sampled_from(["old", "new"]),
    at=st.integers(0, 2),
    keyed=st.booleans(),
    ms=st.sampled_from([0, 20, 300, 2_500]),
)


# ---------------------------------------------------------------- requests
@frozen
class Caller:
    """Makes the calls of a script, and keeps their names.

    Attributes:
        scene: the engines and the clients.
        data: draws the values.
    """

    scene: Rollout
    data: st.DataObject

    def request(self, step: Step) -> None:
        """Send a request with a number."""
        scene, code = self.scene, self.scene.codes[step.age]
        number = scene.next_number()
        call = Call(f"request {number}", step.age, f"k{number}" if step.keyed else None, number)
        payload = self.data.draw(code.built.values, label=f"payload of {number}, {step.age}")
        getattr(self, f"_{scene.kind}")(step, code, call, payload)

    def _task(self, step: Step, code: Code, call: Call, payload: Any) -> None:
        call.id, event = "ab"[step.at % 2], self._event(step, code, call, payload)
        self.scene.start(call, lambda handle: handle.send(call.id, event, idempotency_key=call.key))

    def _debounce(self, step: Step, code: Code, call: Call, payload: Any) -> None:
        call.id, event = "ab"[step.at % 2], self._event(step, code, call, payload)
        self.scene.start(call, lambda handle: handle.add(call.id, event, idempotency_key=call.key))

    def _event(self, step: Step, code: Code, call: Call, payload: Any) -> Any:
        forms = [code.Put(call.number, payload), code.Touch(call.number)]
        forms += [code.Extra(call.number, "w")] if code.has("event class") else []
        event = forms[step.ms % len(forms)]
        call.input = event
        return event

    def _continuous(self, step: Step, code: Code, call: Call, payload: Any) -> None:
        call.id = f"c{call.number}"
        call.input = code.after(code.Box(), code.Put(call.number, payload))
        self.scene.start(
            call, lambda handle: handle.start(call.id, call.input, wait_for="start", idempotency_key=call.key)
        )

    def _pool(self, step: Step, code: Code, call: Call, payload: Any) -> None:
        call.id, call.input = f"p{call.number}", code.Item(call.number, payload)
        self.scene.start(call, lambda handle: handle.put(call.id, call.input, idempotency_key=call.key))

    def _workflow(self, step: Step, code: Code, call: Call, payload: Any) -> None:
        call.id, call.input = f"w{call.number}", code.Item(call.number, payload)
        self.scene.start(call, lambda handle: handle.start(call.id, call.input, idempotency_key=call.key))
        if step.at:
            self._signal(step.age, call.id)

    @property
    def ids(self) -> list[str]:
        """The ids that requests were sent to."""
        return sorted({call.id for call in self.scene.calls if call.number is not None and call.name[0] == "r"})

    def signal(self, step: Step) -> None:
        """Send a signal to a workflow, which may not have begun or have ended."""
        if self.scene.kind == "workflow" and self.ids:
            self._signal(step.age, self.ids[step.at % len(self.ids)])

    def _signal(self, age: Age, id_: str) -> None:
        scene, code = self.scene, self.scene.codes[age]
        number = scene.next_number()
        payload = self.data.draw(code.built.values, label=f"payload of {number}, {age}")
        call = Call(f"signal {number}", age, f"k{number}", number, id_, code.Go(number, payload))
        scene.start(call, lambda handle: handle.signal(id_, code.go, call.input, idempotency_key=call.key))

    def read(self, step: Step) -> None:
        """Read a state, a status or an outcome."""
        for id_ in self.ids[step.at : step.at + 1]:
            name = "status" if step.keyed else "get_state"
            if not step.keyed and step.ms and self.scene.kind in {"pool", "workflow"}:
                name = "outcome"
            self.scene.start(Call(f"{name} of {id_}", step.age), methodcaller(name, id_))

    def operate(self, step: Step) -> None:
        """Resume a parked instance; or trigger a run, as an operator does who does not want to wait."""
        for id_ in self.ids[step.at : step.at + 1]:
            action = {"task": "trigger", "debounce": "flush", "continuous": "trigger", "pool": "retry"}
            name = "resume" if step.keyed else action.get(self.scene.kind, "resume")
            given = {"wait_for": "start"} if name in {"trigger", "flush"} else {}
            self.scene.start(Call(f"{name} of {id_}", step.age), methodcaller(name, id_, **given))


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


# ---------------------------------------------------------------- laws
@frozen
class Laws:
    """The laws of every history.

    Attributes:
        scene: the history, which has ended with newer engines alone.
    """

    scene: Rollout

    def check(self) -> None:
        """Check every law."""
        self.nothing_is_parked()
        self.calls_fail_for_good_reasons()
        self.every_repeat_has_its_key()
        getattr(self, f"_{self.scene.kind}")()

    def nothing_is_parked(self) -> None:
        """An engine parks nothing that another version has written."""
        assert self.scene.parked == []

    def calls_fail_for_good_reasons(self) -> None:
        """A newer engine refuses nothing; an older one unknown input only, and says so."""
        for call in self.scene.calls:
            for each in call.tries:
                if isinstance(each.error, InvalidInput):
                    assert each.at == "old", (call.name, call.of, each)
                    assert not self.is_known(call), (call.name, call.of, each)
                elif isinstance(each.error, Undecodable):
                    assert each.at == "old", (call.name, call.of, each)
                else:
                    assert type(each.error).__name__ in {
                        "OutcomeUnknown", "EngineClosed", "ServerUnreachable", "Rejected", "SignalRefused",
                    }, (call.name, call.of, each)  # fmt: skip
            if call.state == "failed" and not isinstance(call.tries[-1].error, SignalRefused):
                assert call.key is None, (call.name, call.of, call.tries)

    def is_known(self, call: Call) -> bool:
        """Return whether the older version knows the input of a call."""
        if call.of == "old" or call.input is None:
            return True
        new, old = self.scene.codes["new"], self.scene.codes["old"]
        name = type(call.input).__name__
        if name == "Extra":
            return False
        text = Codec.of(getattr(new, name), what="input").encode(call.input)
        try:
            Codec.of(getattr(old, name), what="input").decode(text)
        except InvalidInput:
            return False
        return True

    def every_repeat_has_its_key(self) -> None:
        """A repeat of a run or of a step has the key of the first time."""
        keys = self.scene.outside.keys
        assert {work: keys[work] for work in keys if len(keys[work]) > 1 and not work.startswith("event")} == {}

    # ------------------------------------------------------------ no acknowledged request is lost
    def counted(self, times: Counter[int]) -> None:
        """Each request that was answered is there once; one that was not, at most once."""
        for call in self.requests:
            found = times[call.number or 0]
            if call.state == "answered":
                assert found == 1, f"{call.name} was answered, and is there {found} times"
            elif call.is_doubtful:
                assert found <= 1, f"{call.name} has no answer, and is there {found} times"
            else:
                assert found == 0, f"{call.name} was refused, and is there {found} times"

    @property
    def requests(self) -> list[Call]:
        """The calls that send something."""
        return [call for call in self.scene.calls if call.name.startswith("request")]

    def ask(self, make: Any) -> Any:
        """Make a call of a newer client that must succeed."""
        call = self.scene.start(Call("law", "new"), make)
        assert self.scene.finished()
        assert call.state == "answered", call.tries
        return call.answer

    def as_new(self, call: Call) -> Any:
        """Return the payload of a call as newer code reads it."""
        code = self.scene.codes[call.of]
        text = Codec.of(code.built.form, what="payload").encode(call.input.payload)
        return Codec.of(self.scene.codes["new"].built.form, what="payload").decode(text)

    def _task(self) -> None:
        times: Counter[int] = Counter()
        for id_ in "ab":
            box = self.ask(lambda handle, id_=id_: handle.get_state(id_))
            seen = () if box is None else box.seen
            times.update(seen)
            puts = [
                call
                for number in seen
                for call in self.requests
                if call.number == number and hasattr(call.input, "payload")
            ]
            if puts:
                assert box.payload == self.as_new(puts[-1]), "a payload was changed"
            echo = self.ask(lambda handle, id_=id_: handle.get_state(f"{id_}{ECHO}"))
            echoed = () if echo is None else echo.seen
            assert sorted(echoed) == sorted(number for number in seen if number % 3 == 0), "a message was lost"
        self.counted(times)

    def _debounce(self) -> None:
        batches = {work for work in self.scene.outside.keys if work.startswith("batch")}
        self.counted(Counter(int(number) for work in batches for number in work.split(" of ")[0].split()[1:]))

    def _continuous(self) -> None:
        times: Counter[int] = Counter()
        for call in self.requests:
            box = self.ask(lambda handle, call=call: handle.get_state(call.id))
            if box is not None:
                times.update(box.seen)
                assert box.payload == self.as_new(call), "a payload was changed"
                assert box.runs > 0, "it does not run"
        self.counted(times)

    def _pool(self) -> None:
        times: Counter[int] = Counter()
        for call in self.requests:
            match self.ask(lambda handle, call=call: handle.outcome(call.id)):
                case None:
                    pass
                case Done(result):
                    times[result.number] += 1
                    assert result.payload == self.as_new(call), "a payload was changed"
                case other:
                    raise AssertionError(f"{call.name} is {other}")
        self.counted(times)

    def _workflow(self) -> None:
        times: Counter[int] = Counter()
        for call in self.requests:
            status = self.ask(lambda handle, call=call: handle.status(call.id))
            times[call.number or 0] += status.status != "not_found"
            outcome = self.ask(lambda handle, call=call: handle.outcome(call.id))
            signals = [each for each in self.scene.calls if each.name.startswith("signal") and each.id == call.id]
            acknowledged = [each for each in signals if each.state == "answered"]
            assert outcome is not None or not acknowledged, f"{call.name} received no signal"
            if outcome is not None:
                assert isinstance(outcome, Done), outcome
                possible = [(call.number + each.number, self.as_new(each)) for each in signals]
                assert (outcome.value.number, outcome.value.payload) in possible
        self.counted(times)


# ---------------------------------------------------------------- tests
def check(pair: Pair, data: st.DataObject) -> None:
    """Play a drawn script with two versions, and check the laws."""
    script = data.draw(st.lists(steps, min_size=3, max_size=14), label="script")
    scene = Rollout(
        pair.kind, {"old": Code(pair.old), "new": Code(pair.new)}, data.draw(st.integers(0, 9), label="seed")
    )
    with scene.cluster:
        play(scene, script, Caller(scene, data))
        scene.replace_all("new")
        settle(scene)
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
