"""The steps of a script, and the calls that they make."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import Any, Literal

from attrs import frozen
from history import Age, Call, History
from hypothesis import strategies as st
from versioned_jobs import Code


@frozen
class Step:
    """One step of a script.

    Attributes:
        do: the action.
        age: the version of the client, or of an engine that opens.
        at: which instance, or which engine.
        keyed: whether a request has an idempotency key.
        form: which class of events, or which call.
        ms: how much time passes.
    """

    do: Literal["request", "read", "signal", "roll", "crash", "operate", "refuse"]
    age: Age
    at: int
    keyed: bool
    form: int
    ms: int


steps = st.builds(
    Step,
    do=st.sampled_from(["request", "request", "request", "signal", "read", "roll", "crash", "operate", "refuse"]),
    age=st.sampled_from(["old", "new"]),
    at=st.integers(0, 2),
    keyed=st.booleans(),
    form=st.integers(0, 2),
    ms=st.sampled_from([0, 20, 300, 2_500]),
)


# ---------------------------------------------------------------- requests
@frozen
class Caller:
    """Makes the calls of a script, and keeps their names.

    Attributes:
        scene: makes the calls.
        payload: draws a payload of a client of a version.
        keyed: whether every request has an idempotency key; otherwise the script says which.
    """

    scene: History
    payload: Callable[[Age], Any]
    keyed: bool = False

    def request(self, step: Step, number: int | None = None) -> None:
        """Send a request with a number: a new one, unless it repeats an earlier request."""
        scene, code = self.scene, self.scene.codes[step.age]
        number = scene.next_number() if number is None else number
        call = Call(f"request {number}", step.age, f"k{number}" if step.keyed or self.keyed else None, number)
        payload = self.payload(step.age)
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
        event = forms[step.form % len(forms)]
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
        payload = self.payload(age)
        call = Call(f"signal {number}", age, f"k{number}", number, id_, code.Go(number, payload))
        scene.start(call, lambda handle: handle.signal(id_, code.go, call.input, idempotency_key=call.key))

    def read(self, step: Step) -> None:
        """Read a state, a status or an outcome."""
        for id_ in self.ids[step.at : step.at + 1]:
            name = "status" if step.keyed else "get_state"
            if not step.keyed and step.form and self.scene.kind in {"pool", "workflow"}:
                name = "outcome"
            self.scene.start(Call(f"{name} of {id_}", step.age), methodcaller(name, id_))

    def operate(self, step: Step) -> None:
        """Resume a parked instance; or trigger a run, as an operator does who does not want to wait; or cancel it."""
        for id_ in self.ids[step.at : step.at + 1]:
            action = {"task": "trigger", "debounce": "flush", "continuous": "trigger", "pool": "trigger"}
            name = "resume" if step.keyed else action.get(self.scene.kind, "cancel")
            waits = name in {"trigger", "flush"} and self.scene.kind != "pool"  # a pool's trigger only queues the item
            given: dict[str, Any] = {"wait_for": "start"} if waits else {}
            if name == "cancel":
                given = {"interrupt": step.form > 0}
            self.scene.start(Call(f"{name} of {id_}", step.age), methodcaller(name, id_, **given))
