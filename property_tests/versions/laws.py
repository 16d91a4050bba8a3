"""The laws of a deploy: no acknowledged request is lost, and no call of known types fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from history import Call, History
from versioned_jobs import ECHO, FORWARDED

from perdure.codecs import Codec
from perdure.jobs.suspension import check_readable
from perdure.values.address import Address
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import InstanceParked, InvalidInput, SignalRefused, Undecodable
from perdure.values.excerpt import shortened
from perdure.values.instance import Instance, Left, heals
from perdure.values.listings import Listing
from perdure.values.times import from_ms

ENDS_THEN = ("", " A stored cancellation ends it then.", " If its deadline has passed, it is cancelled then.")
"""The sentences that a workflow adds to the remedy, if it was cancelled or has a deadline."""


def left_instances_are_listed(
    listing: Listing, before: Mapping[Address, Instance], after: Mapping[Address, Instance], marks: Mapping[str, Any]
) -> None:
    """Each instance that code left is listed with the reason, the beginning and the remedy; no other one is listed.

    Args:
        listing: the instances that an engine lists as left.
        before: every row before the call.
        after: every row after it.
        marks: the definitions that may have left instances, by fingerprint.
    """
    listed = {each.address: each.report for each in listing}
    for address in before.keys() & after.keys():
        left = before[address].left
        if before[address] != after[address]:
            continue
        assert (left is not None) == (address in listed), f"{address} is left: {left}; and listed: {address in listed}"
        if left is None:
            continue
        report = listed[address]
        assert report.left == left.error
        assert report.since == from_ms(left.since_ms)
        assert report.heals in {f"{heals(left)}{then}" for then in ENDS_THEN}
        assert set(left.codes) <= set(marks), "code that does not run has left it"
        is_reason(left, after[address], marks[left.codes[-1]])


def is_reason(left: Left, row: Instance, job: Any) -> None:
    """The reason of a mark is the problem that the code which left last has with the stored instance."""
    reason = left.error.message
    try:
        check_readable(job, row)
    except InvalidInput as problem:
        assert reason == shortened("; ".join(problem.problems)), "the reason is another one"
    else:
        # It reads the row: the problem is in the state that a turn would have written, in the journal, or in a message.
        assert left.error.error_type == "NewerOnly" or job.keeps_journal, reason
        assert reason.startswith(("$", "step ", "the ")), reason


def wholly(codec: Codec[Any], text: bytes) -> Any:
    """Read a value of which nothing may be unknown."""
    opened = codec.open(text)
    assert opened.rest is None, opened.rest
    return opened.value


@frozen
class Laws:
    """The laws of every history.

    Attributes:
        scene: the history, which has ended with newer engines alone.
        compatible: whether the newer version only adds. Otherwise it upgrades states, and drops their payloads.
    """

    scene: History
    compatible: bool = True

    def check(self) -> None:
        """Check every law."""
        if self.compatible:
            self.calls_fail_for_good_reasons()
        self.every_repeat_has_its_key()
        getattr(self, f"_{self.scene.kind}")()

    def calls_fail_for_good_reasons(self) -> None:
        """A newer engine refuses nothing; an older one unknown input only, and says so."""
        for call in self.scene.calls:
            for each in call.tries:
                if isinstance(each.error, InvalidInput):
                    assert each.at != "new", (call.name, call.of, each)
                    assert not self.is_known(call), (call.name, call.of, each)
                elif isinstance(each.error, Undecodable):
                    # An older client does not know each class that a newer engine returns. It drops new members.
                    is_unknown = call.of == "old" and not any("unknown key" in text for text in each.error.problems)
                    assert each.at != "new" or is_unknown, (call.name, call.of, each)
                elif isinstance(each.error, InstanceParked):
                    assert each.error.reason == "retries_exhausted", (call.name, call.of, each)
                else:
                    assert type(each.error).__name__ in {
                        "OutcomeUnknown", "EngineClosed", "ServerUnreachable", "Rejected", "SignalRefused",
                    }, (call.name, call.of, each)  # fmt: skip
            if call.state == "failed" and not isinstance(call.tries[-1].error, SignalRefused | InstanceParked):
                assert call.key is None, (call.name, call.of, call.tries)

    def is_known(self, call: Call) -> bool:
        """Return whether the older version knows the input of a call."""
        if call.of == "old" or call.input is None:
            return True
        new, old = self.scene.codes["new"], self.scene.codes["old"]
        name = type(call.input).__name__
        if name in {"Extra", "Sealed"}:
            return False
        text = Codec.of(getattr(new, name), what="input").encode(call.input)
        try:
            Codec.of(getattr(old, name), what="input").accept(text)
        except InvalidInput:
            return False
        return True

    def every_repeat_has_its_key(self) -> None:
        """A repeat of an effect has the key of the first time."""
        assert {work: keys for work, keys in self.scene.keys.items() if len(keys) > 1} == {}

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

    def as_new(self, call: Call) -> Any:
        """Return the payload of a call as newer code reads it."""
        code = self.scene.codes[call.of]
        text = Codec.of(code.built.form, what="payload").encode(call.input.payload)
        return wholly(Codec.of(self.scene.codes["new"].built.form, what="payload"), text)

    def payloads_after(self, call: Call) -> list[Any]:
        """Return the payloads that a state may have after a call."""
        return [self.as_new(call)] if self.compatible else [self.as_new(call), None]

    def _task(self) -> None:
        times: Counter[int] = Counter()
        for id_ in "ab":
            box = self.scene.ask(lambda handle, id_=id_: handle.get_state(id_))
            seen = () if box is None else box.seen
            times.update(seen)
            puts = [
                call
                for number in seen
                for call in self.requests
                if call.number == number and hasattr(call.input, "payload")
            ]
            if puts:
                assert box.payload in self.payloads_after(puts[-1]), "a payload was changed"
            self._forwarded(id_)
            echo = self.scene.ask(lambda handle, id_=id_: handle.get_state(f"{id_}{ECHO}"))
            echoed = () if echo is None else echo.seen
            assert sorted(echoed) == sorted(number for number in seen if number % 3 == 0), "a message was lost"
        self.counted(times)

    def _forwarded(self, id_: str) -> None:
        """A message with the payload of a state has one that was put there."""
        box = self.scene.ask(lambda handle: handle.get_state(f"{id_}{FORWARDED}"))
        if box is not None:
            puts = [call for call in self.requests if call.id == id_ and hasattr(call.input, "payload")]
            assert box.payload in [each for call in puts for each in self.payloads_after(call)], "it was changed"

    def _debounce(self) -> None:
        batches = {work for work in self.scene.keys if work.startswith("batch")}
        self.counted(Counter(int(number) for work in batches for number in work.split(" of ")[0].split()[1:]))

    def _continuous(self) -> None:
        times: Counter[int] = Counter()
        for call in self.requests:
            box = self.scene.ask(lambda handle, call=call: handle.get_state(call.id))
            if box is not None:
                times.update(box.seen)
                assert box.payload in self.payloads_after(call), "a payload was changed"
                assert box.runs > 0, "it does not run"
        self.counted(times)

    def _pool(self) -> None:
        times: Counter[int] = Counter()
        for call in self.requests:
            match self.scene.ask(lambda handle, call=call: handle.outcome(call.id)):
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
            status = self.scene.ask(lambda handle, call=call: handle.status(call.id))
            times[call.number or 0] += status.status != "not_found"
            outcome = self.scene.ask(lambda handle, call=call: handle.outcome(call.id))
            signals = [each for each in self.scene.calls if each.name.startswith("signal") and each.id == call.id]
            acknowledged = [each for each in signals if each.state == "answered"]
            assert outcome is not None or not acknowledged, f"{call.name} received no signal"
            cancels = [each for each in self.scene.calls if each.name == f"cancel of {call.id}"]
            if outcome is not None and not (cancels and isinstance(outcome, WasCancelled)):
                assert isinstance(outcome, Done), outcome
                possible = [(call.number + each.number, self.as_new(each)) for each in signals]
                assert (outcome.value.number, outcome.value.payload) in possible
                assert outcome.value.part == self.as_new(call), "the payload of the child was changed"
        self.counted(times)
