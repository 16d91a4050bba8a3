"""The difference of two JSON values, as `perdure explain` shows it, and the changes of many instances."""

import asyncio
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operated import serving
from returns.result import Result, Success

from perdure import App, Do, Workflow, WorkflowContext, effect, program
from perdure.cli.commands import run_command
from perdure.cli.instances.bulk_changes import Change, apply_to
from perdure.cli.instances.predictions import JsonChange, changes, json_text
from perdure.cli.output import size_text
from perdure.cli.process import ExitCode
from perdure.cli.target.target import InstanceRequest
from perdure.values.address import Address
from perdure.values.errors import AccessDenied, InstanceParked, OutcomeUnknown, PerdureError, ServerUnreachable

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "x"])
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


def applied(value: Any, change: JsonChange) -> Any:
    """Apply a change: the names of a path have one letter, its indexes one digit."""
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"\w", change.path)]
    if not steps:
        return change.after
    inner = value
    for step in steps[:-1]:
        inner = inner[step]
    if change.form == "removed" and isinstance(inner, list):
        del inner[-1]  # further elements are removed one by one, the first path first
    elif change.form == "removed":
        del inner[steps[-1]]
    elif isinstance(inner, list) and change.form == "added":
        inner.append(change.after)
    else:
        inner[steps[-1]] = change.after
    return value


@given(JSON, JSON)
def test_the_changes_lead_from_one_value_to_the_other(before: Any, after: Any) -> None:
    rebuilt = deepcopy(before)
    for change in changes(before, after):
        rebuilt = applied(rebuilt, change)
    assert json_text(rebuilt) == json_text(after) or rebuilt == after  # members may be in another order
    assert list(changes(rebuilt, after)) == []


@given(JSON)
def test_equal_values_have_no_changes(value: Any) -> None:
    assert list(changes(value, deepcopy(value))) == []


# ---------------------------------------------------------------- several instances
ENDS: dict[ExitCode, PerdureError | None] = {
    ExitCode.DONE: None,
    ExitCode.REFUSED: InstanceParked("task:order:a", "retries_exhausted"),
    ExitCode.MISCONFIGURED: AccessDenied("operate", "small_scope", "no"),
    ExitCode.UNREACHABLE: ServerUnreachable("http://engine", "closed"),
    ExitCode.UNKNOWN: OutcomeUnknown("lost"),
}
CONTINUES = {ExitCode.DONE, ExitCode.REFUSED}


@attrs.define
class Answering:
    """A target that answers each request in its turn."""

    ends: list[ExitCode]
    received: list[Address] = attrs.Factory(list[Address])

    def call(self, request: InstanceRequest, /) -> object:
        error = ENDS[self.ends[len(self.received)]]
        self.received.append(request.address)
        if error is not None:
            raise error
        return {"changed": True}


@given(st.lists(st.sampled_from([*ENDS, ExitCode.DONE, ExitCode.REFUSED]), min_size=1, max_size=5))
def test_a_change_of_many_ends_at_a_common_failure_and_returns_the_worst_code(ends: list[ExitCode]) -> None:
    target: Any = Answering(ends)
    chosen = tuple(Address("task", "order", str(number)) for number in range(len(ends)))
    pause = Change(verb="pause", ask_of=lambda _, address: InstanceRequest(address=address, action="pause"))
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
        code = apply_to(pause, target, chosen, json=True)
    performed = ends[: len(list(takewhile(CONTINUES.__contains__, ends))) + 1]
    assert tuple(target.received) == chosen[: len(performed)]
    assert code == max(performed)
    done = f"perdure: pause: {performed.count(ExitCode.DONE)} of {len(ends)} instances done\n"
    assert said.getvalue() == (done if len(ends) > 1 else "")


@given(st.one_of(st.integers(0, 4_096), st.integers(1_000_000, 1_100_000)))
def test_a_size_is_rounded_up_to_whole_kib(size_bytes: int) -> None:
    text = size_text(size_bytes)
    if size_bytes >= 1_048_576:
        assert text == f"{size_bytes / 1_048_576:.1f} MiB"
    elif size_bytes == 0:
        assert text == "0"
    else:
        kib = int(text.removesuffix(" KiB"))
        assert 1_024 * (kib - 1) < size_bytes <= 1_024 * kib


# ---------------------------------------------------------------- forks of many
@effect
def say(_: None, word: str) -> Result[str, str]:
    return Success(word)


@program
def say_one(ctx: WorkflowContext[str]) -> Do[str, str, None]:
    return (yield from say((yield from ctx.state)))


APP = App(None).with_jobs(Workflow("flows", state=str, run=say_one))


async def make(path: Path) -> None:
    async with APP.open(f"sqlite:///{path}") as jobs:
        for id_ in ("a", "b"):
            await jobs.handle_by_name("workflow", "flows").call("start", id_, '"word"')


def test_a_command_that_is_repeated_forks_no_fork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(make(tmp_path / "jobs.db"))
    with serving(tmp_path / "jobs.db", APP) as named:
        forks = ["fork", "--job", "workflow:flows", "--step", "0", "--suffix", "-b", "--yes", *named["server"]]
        for _ in range(2):
            assert run_command([*forks, "--json"]) == 0
            printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [each["address"] for each in printed] == ["workflow:flows:a", "workflow:flows:b"]
        assert run_command([*forks, "--dry-run"]) == 0
        assert capsys.readouterr().out.split() == ["workflow:flows:a", "workflow:flows:b"]
        listed = ["list", "--job", "workflow:flows", "--json", *named["server"]]
        assert run_command(listed) == 0
        ids = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
        assert ids == ["a", "a-b", "b", "b-b"]
        url = f"{named['server'][1]}/v1/jobs/workflow/flows/fork-many?step=0&suffix=-b"
        for query, created in (("&dry_run=true", 0), ("&limit=1", 0)):
            with urlopen(Request(url + query, method="POST")) as found:  # noqa: S310 - http
                answer = json.load(found)
            assert (answer["created"], answer["refused"]) == (0, 0)
            assert answer["matched"] + created == (2 if "dry" in query else 1)
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{url}&dry_run=yes", method="POST"))  # noqa: S310 - as above
        assert "'true' or 'false'" in refused.value.read().decode()
