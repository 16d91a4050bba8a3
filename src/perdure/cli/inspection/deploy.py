"""The changes between two versions of an app, and how each is deployed.

The types of an app's jobs are a file, which ``perdure definitions`` prints, and which a later version is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import orjson

from perdure.cli.process import UsageError
from perdure.codecs import Codec
from perdure.codecs.compatibility import Difference, Kind, unread, verdict
from perdure.codecs.json_schema import JsonSchema
from perdure.jobs.definition import AnyDefinition
from perdure.values.errors import InvalidInput
from perdure.values.frozen import frozen

SIGNAL: Final = "signal."
"""The start of the name of an action that sends a signal."""


@frozen(kw_only=True)
class JobTypes:
    """The types of one job.

    Attributes:
        version: the version of the state that the code writes.
        states: the JSON Schema of each version that it reads.
        types: those of its inputs, answers, errors and signals, by name.
    """

    version: int
    states: dict[int, JsonSchema]
    types: dict[str, JsonSchema]


@frozen(kw_only=True)
class AppTypes:
    """The types of an app.

    Attributes:
        format: of the file.
        jobs: the jobs, printed ``kind:name``.
    """

    format: Literal[1] = 1
    jobs: dict[str, JobTypes]


FILE: Final = Codec.of(AppTypes, what="definitions of an app")


def types_of(definitions: Iterable[AnyDefinition]) -> AppTypes:
    """Return the types of an app's definitions."""
    return AppTypes(jobs={f"{each.kind}:{each.name}": _types(each) for each in definitions})


def text_of(types: AppTypes) -> str:
    """Return the file. Equal definitions have equal text."""
    return json.dumps(orjson.loads(FILE.encode(types)), indent=2, sort_keys=True)


def read_types(path: Path) -> AppTypes:
    """Read a file that ``perdure definitions`` has printed.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return FILE.decode(path.read_bytes())
    except (OSError, InvalidInput) as error:
        raise UsageError(f"{path}: {error}; write the file with `perdure definitions MODULE:APP`") from error


def _types(job: AnyDefinition) -> JobTypes:
    plan = job.plan
    older = {step.version: step.codec.json_schema() for step in plan.upgrades.steps}
    inputs = {_input(name): spec.input for name, spec in plan.commands.items()}
    results = {"result" if at == 0 else f"result {at + 1}": codec for at, codec in enumerate(plan.kept)}
    named = {**inputs, **results, "errors": plan.errors}
    return JobTypes(
        version=plan.state_version,
        states={**older, plan.state_version: plan.state.json_schema()},
        types={name: codec.json_schema() for name, codec in named.items() if codec is not None},
    )


def _input(action: str) -> str:
    return f"signal {action.removeprefix(SIGNAL)}" if action.startswith(SIGNAL) else f"input of {action}"


Effect: TypeAlias = Literal["needs a version", "web tier first", "engines first", "compatible"]
"""How a change is deployed.

- ``needs a version``: no order serves old and new code: values that exist, or that callers send, would not be read.
- ``web tier first``, ``engines first``: the processes that are deployed first serve old and new code.
- ``compatible``: in any order, and back.
"""

EFFECTS: Final[tuple[Effect, ...]] = ("needs a version", "web tier first", "engines first", "compatible")


@frozen(kw_only=True)
class DeployRow:
    """One change.

    Attributes:
        effect: how it is deployed.
        job: the job, printed ``kind:name``.
        place: the type and the path in it, such as ``state $.lines[].gift``; empty for the job itself.
        reason: why.
    """

    effect: Effect
    job: str
    place: str
    reason: str


def changes(old: AppTypes, new: AppTypes) -> tuple[DeployRow, ...]:
    """Return the changes from one version of an app to another, those that need a version first."""
    found = [row for job in sorted(old.jobs.keys() | new.jobs.keys()) for row in _of_job(job, old.jobs, new.jobs)]
    return tuple(sorted(found, key=lambda row: (EFFECTS.index(row.effect), row.job, row.place)))


Order: TypeAlias = Literal["needs a version", "two deploys", "web tier first", "engines first", "any"]
"""The order of a deploy with all changes."""

ORDERS: Final[Mapping[Order, str]] = {
    "needs a version": "Not yet: give the changed states a version, and change inputs and results in two deploys.",
    "two deploys": "Deploy twice: one group of changes needs the web tier first, and one the engines.",
    "web tier first": "Deploy the web tier first, then the engines.",
    "engines first": "Deploy the engines first, then the web tier.",
    "any": "Deploy in any order.",
}


def order_of(rows: Iterable[DeployRow]) -> Order:
    """Return the order in which an app with these changes is deployed."""
    effects = {row.effect for row in rows}
    if "needs a version" in effects:
        return "needs a version"
    if effects >= {"web tier first", "engines first"}:
        return "two deploys"
    return "web tier first" if "web tier first" in effects else "engines first" if "engines first" in effects else "any"


def _of_job(job: str, old: Mapping[str, JobTypes], new: Mapping[str, JobTypes]) -> Iterator[DeployRow]:
    if job not in new:
        name = job.partition(":")[2]
        others = [each for each in new if each.partition(":")[2] == name and each not in old]
        why = f"its kind changed to {others[0]}" if others else "the new code does not serve it"
        reason = f"{why}: its instances stop and its messages wait; keep the job until it has no instances"
        yield DeployRow(effect="needs a version", job=job, place="", reason=reason)
    elif job not in old:
        yield DeployRow(effect="engines first", job=job, place="", reason="engines with the old code do not serve it")
    else:
        yield from _rows(job, "state", _of_state(old[job], new[job]))
        names = dict.fromkeys((*old[job].types, *new[job].types))
        for name in names:
            of_part = _of_answer if name == "errors" or name.startswith("result") else _of_input
            yield from _rows(job, name, of_part(name, old[job].types.get(name), new[job].types.get(name)))


_WEB: Final[Effect] = "web tier first"
_ENGINES: Final[Effect] = "engines first"

_Change: TypeAlias = tuple[Effect, str, str]
"""An effect, a path, a reason."""


def _rows(job: str, part: str, found: Iterator[_Change]) -> Iterator[DeployRow]:
    for effect, path, reason in found:
        yield DeployRow(effect=effect, job=job, place=f"{part} {path}".strip(), reason=reason)


# ---------------------------------------------------------------- states
_STORED: Final[Mapping[Kind, str]] = {
    "unknown member": "the new code does not have this field, and would keep its data: a version drops it",
    "unknown class": "the new code does not have the class {name} of stored states",
    "unknown choice": "the new code does not have the choice {name} of stored states",
    "other form": "stored states have another kind of JSON here",
    "other type": "stored states have another type here",
    "missing member": "it has no default, and stored states may not have it",
    "other first class": "a stored object without a tag is read as another class: keep {name} the first class",
}


def _of_state(old: JobTypes, new: JobTypes) -> Iterator[_Change]:
    before, after = old.states[old.version], new.states[new.version]
    if new.version < old.version:
        reason = f"its version went back from {old.version} to {new.version}: stored states are of a newer version"
        yield "needs a version", "", reason
    elif new.version > old.version:
        yield from _upgraded(old.version, before, new)
    else:
        found = verdict(before, after)
        for each in found.forwards:
            yield "needs a version", each.path, _STORED[each.kind].format(name=each.name)
        refused = {each.path for each in found.forwards}
        for each in found.backwards:
            if each.path not in refused:
                yield "compatible", each.path, _kept(each)


def _upgraded(version: int, before: JsonSchema, new: JobTypes) -> Iterator[_Change]:
    if version not in new.states:
        yield "needs a version", "", f"the new code has no function from version {version}"
        return
    for each in unread(before, new.states[version]):
        reason = _STORED[each.kind].format(name=each.name)
        yield "needs a version", each.path, f"version {version} is not the deployed type: {reason}"
    reason = (
        f"version {version} is upgraded to {new.version}; engines with the old code leave the instances that it wrote"
    )
    yield "compatible", "", reason


def _kept(difference: Difference) -> str:
    if difference.kind == "unknown member":
        return "a new field with a default: engines with the old code keep its value"
    what = {"unknown class": f"class {difference.name}", "unknown choice": f"choice {difference.name}"}
    new = what.get(difference.kind, "kind of value")
    return f"a new {new}: engines with the old code leave the instances that have one"


# ---------------------------------------------------------------- inputs
def _of_input(part: str, old: JsonSchema | None, new: JsonSchema | None) -> Iterator[_Change]:
    """Yield the changes of an input, which is accepted whole or refused."""
    noun = "signal" if part.startswith("signal") else "request"
    if old is None or new is None:
        if new is not None:
            yield "engines first", "", f"engines with the old code refuse this {noun}"
        else:
            yield "web tier first", "", f"engines with the new code refuse this {noun}"
        return
    found = verdict(old, new)
    removed = {each.path: each for each in found.forwards}
    added = {each.path: each for each in found.backwards}
    for path, each in removed.items():
        effect: Effect = "needs a version" if added else "web tier first"
        both = "; and old engines refuse the new ones: change it in two deploys" if added else ""
        yield effect, path, f"engines with the new code refuse, also in stored messages, {_sent(each)}{both}"
    for path, each in added.items():
        if path not in removed:
            yield "engines first", path, f"engines with the old code refuse {_sent(each)}"


def _sent(difference: Difference) -> str:
    match difference.kind:
        case "unknown member":
            return "a value with this field"
        case "missing member":
            return "a value without this field"
        case "unknown class":
            return f"the class {difference.name}"
        case "unknown choice":
            return f"the choice {difference.name}"
        case "other first class":
            return f"an object without a tag, as a lone {difference.name} is sent"
        case _:
            return "a value of this type"


# ---------------------------------------------------------------- answers
def _of_answer(part: str, old: JsonSchema | None, new: JsonSchema | None) -> Iterator[_Change]:
    """Yield the changes of a result or of errors, whose unknown members a client drops."""
    is_error = part == "errors"
    outcome = "receive as a Defect" if is_error else "cannot read"
    if old is None or new is None:
        side = "old" if old is None else "new"
        reason = f"clients with the {side} code declare none, and {outcome} each of them"
        yield _WEB if old is None else _ENGINES, "", reason
        return
    found = verdict(old, new)
    lost = {each.path for each in found.forwards if each.kind != "unknown member"}
    for each in found.forwards:
        if each.kind == "unknown member":
            yield "compatible", each.path, "the new code does not have this field, and drops its value"
        elif is_error:
            yield _ENGINES, each.path, f"clients with the new code {outcome} {_sent(each)}"
        else:
            yield "needs a version", each.path, f"the new code cannot read a stored result: {_sent(each)}"
    for each in found.backwards:
        if each.kind == "unknown member":
            yield "compatible", each.path, "a new field: clients with the old code drop its value"
        elif is_error or each.path not in lost:
            yield _WEB, each.path, f"clients with the old code {outcome} {_sent(each)}"
