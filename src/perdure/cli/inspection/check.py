"""``perdure check``: whether new code can decode the stored data, and how each change is deployed.

Run it before you deploy.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import attrs
import orjson
from cyclopts import Parameter

from perdure.app import App
from perdure.cli.app_loader import import_app, imported_code, records_of
from perdure.cli.inspection.report import (
    Finding,
    FindingTopic,
    Progress,
    Report,
    check_answer,
    check_instance,
    check_message,
    finding,
    finding_at,
    probed,
    scan,
)
from perdure.cli.options import AppArgument, StoreIfAny
from perdure.cli.output import Table, line_on_stderr, write_object, write_table
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.codecs import Codec, fingerprint
from perdure.codecs.compatibility import Difference, Kind, unread, verdict
from perdure.codecs.json_schema import JsonSchema
from perdure.engine.runs.concurrency import too_many_runs
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.messages import received
from perdure.jobs.suspension import check_readable
from perdure.kinds.workflow.declared_steps import PATCH, declared_steps
from perdure.kinds.workflow.definition import Workflow
from perdure.stores import at_rest
from perdure.stores.at_rest import RememberedAnswer, StoredInstance
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.postgres.settings import shown_url
from perdure.values.address import Address
from perdure.values.errors import InvalidInput, StoreCorrupt, UnknownAction
from perdure.values.frozen import frozen
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

SIGNAL: Final = "signal."
"""The prefix in an action's name that sends a signal."""

STARTING: Final = ("signal_with_start.", "start_timed")


@frozen(kw_only=True)
class JobTypes:
    """One job's types.

    Attributes:
        version: the state version that the code writes.
        states: the JSON Schema for each state version that the code reads.
        types: its input, answer, error and signal types, by name.
        steps: a workflow's steps, in source order. None for other kinds, and in files that older code wrote.
    """

    version: int
    states: dict[int, JsonSchema]
    types: dict[str, JsonSchema]
    steps: tuple[str, ...] | None = None


@frozen(kw_only=True)
class AppTypes:
    """An app's types.

    Attributes:
        jobs: the jobs, printed ``kind:name``.
    """

    format: Literal[1] = 1
    jobs: dict[str, JobTypes]


FILE: Final = Codec.of(AppTypes, what="definitions of an app")


def types_of(definitions: Iterable[AnyDefinition]) -> AppTypes:
    """Return an app's types, from its definitions."""
    return AppTypes(jobs={f"{each.kind}:{each.name}": _types(each) for each in definitions})


def text_of(types: AppTypes) -> str:
    """Return the file. Equal definitions have equal text."""
    # Sorted and indented: the file is committed, and a difference in a review is a changed type.
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
    # The inputs of other starts have parts, such as the state and a signal, which are compared by themselves.
    inputs = {_input(name): spec.input for name, spec in plan.commands.items() if not name.startswith(STARTING)}
    results = {"result" if at == 0 else f"result {at + 1}": codec for at, codec in enumerate(plan.kept)}
    named = {**inputs, **results, "errors": plan.errors}
    return JobTypes(
        version=plan.state_version,
        states={**older, plan.state_version: plan.state.json_schema()},
        types={name: codec.json_schema() for name, codec in named.items() if codec is not None},
        steps=declared_steps(job.run) if isinstance(job, Workflow) else None,
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
        job: the job, printed ``kind:name``.
        place: the type and the path in it, such as ``state $.lines[].gift``. Empty for the job itself.
    """

    effect: Effect
    job: str
    place: str
    reason: str


def changes(old: AppTypes, new: AppTypes) -> tuple[DeployRow, ...]:
    """Return the changes from one app version to another, those that need a version first."""
    found = [row for job in sorted(old.jobs.keys() | new.jobs.keys()) for row in _of_job(job, old.jobs, new.jobs)]
    # The worst first: a reader may stop there.
    return tuple(sorted(found, key=lambda row: (EFFECTS.index(row.effect), row.job, row.place)))


Order: TypeAlias = Literal["needs a version", "two deploys", "web tier first", "engines first", "any"]
"""The deploy order for all changes."""

ORDERS: Final[Mapping[Order, str]] = {
    "needs a version": (
        "Not yet: give changed states a version, keep changed steps behind `patched(...)`, and change inputs and "
        "results in two deploys."
    ),
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
        # The same name under another kind is most often one job that was changed, and not two.
        others = [each for each in new if each.partition(":")[2] == name and each not in old]
        why = f"its kind changed to {others[0]}" if others else "the new code does not serve it"
        reason = f"{why}: its instances stop and its messages wait; keep the job until it has no instances"
        yield DeployRow(effect="needs a version", job=job, place="", reason=reason)
    elif job not in old:
        yield DeployRow(effect="engines first", job=job, place="", reason="engines with the old code do not serve it")
    else:
        yield from _rows(job, "state", _of_state(old[job], new[job]))
        # Both, in the order of the old code: a removed type is a change as well.
        names = dict.fromkeys((*old[job].types, *new[job].types))
        for name in names:
            of_part = _of_answer if name == "errors" or name.startswith("result") else _of_input
            yield from _rows(job, name, of_part(name, old[job].types.get(name), new[job].types.get(name)))
        yield from _rows(job, "step", _of_steps(old[job].steps, new[job].steps))


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
    "fraction": "stored states may have a fraction here",
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
        # A change that needs a version is reported once, and not again as compatible from the other side.
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
    if difference.kind == "fraction":
        return "a wider number: engines with the old code read 1.0 as 1, and leave the instances that have a fraction"
    what = {"unknown class": f"class {difference.name}", "unknown choice": f"choice {difference.name}"}
    new = what.get(difference.kind, "kind of value")
    return f"a new {new}: engines with the old code leave the instances that have one"


# ---------------------------------------------------------------- steps
_DIVERGES: Final = (
    "workflows beyond it diverge: keep the old steps behind `patched(...)`, or serve the new program under another name"
)
# The source does not say which steps one workflow performs: the branches of an `if` may be exchanged without harm.
_MOVED: Final = (
    "if a workflow performs both, those beyond it diverge: keep the old order behind `patched(...)`; "
    "if it performs one of them, as in the branches of an `if`, `perdure check --store` finds none that diverges"
)


def _of_steps(old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> Iterator[_Change]:
    """Yield the first place where two programs' steps differ, unless the new steps are at the end."""
    if old is None or new is None or new[: len(old)] == old:
        return
    # Only the first: all that follows is shifted by it.
    at = next(at for at, name in enumerate(old) if new[at : at + 1] != (name,))
    before, after = old[at], new[at] if at < len(new) else None
    # Behind a patch the program still performs the old steps for the workflows that began with them.
    if after is not None and after.startswith(PATCH) and _is_inside(old[at:], new[at:]):
        return
    if before in new[at:] and after in old[at:]:
        yield "needs a version", str(at + 1), f"the source of the new code has {after} before {before}: {_MOVED}"
        return
    if before in new[at:]:
        reason = f"the new code has the step {after} before {before}"
    elif after is None or after in old[at:]:
        reason = f"the new code does not have the step {before} here"
    else:
        reason = f"the step {before} is {after} in the new code"
    yield "needs a version", str(at + 1), f"{reason}; {_DIVERGES}"


def _is_inside(part: tuple[str, ...], complete: tuple[str, ...]) -> bool:
    """Return whether the complete steps contain every step in a part, in the same order."""
    # One iterator for all names: each search continues behind the last one, so the order counts.
    left = iter(complete)
    return all(name in left for name in part)


# ---------------------------------------------------------------- inputs
def _of_input(part: str, old: JsonSchema | None, new: JsonSchema | None) -> Iterator[_Change]:
    """Yield an input's changes. An engine accepts a complete input or refuses it."""
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
        # With changes in both directions no order of one deploy serves all callers.
        both = "; and old engines refuse the new ones: change it in two deploys" if added else ""
        yield effect, path, f"engines with the new code refuse, also in stored messages, {_sent(each)}{both}"
    for path, each in added.items():
        if path not in removed:
            yield "engines first", path, f"engines with the old code refuse {_sent(each)}"


_SENT: Final[Mapping[Kind, str]] = {
    "unknown member": "a value with this field",
    "missing member": "a value without this field",
    "unknown class": "the class {name}",
    "unknown choice": "the choice {name}",
    "fraction": "a fraction",
    "other form": "a value of this type",
    "other type": "a value of this type",
    "other first class": "an object without a tag, as a lone {name} is sent",
}


def _sent(difference: Difference) -> str:
    return _SENT[difference.kind].format(name=difference.name)


# ---------------------------------------------------------------- answers
def _of_answer(part: str, old: JsonSchema | None, new: JsonSchema | None) -> Iterator[_Change]:
    """Yield the changes in a result or in errors. A client drops their unknown members."""
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


@attrs.frozen
class RowCheck:
    """Checks rows against the definitions that are about to be deployed.

    Attributes:
        served: the definitions, by kind and name.
        records: decrypts rows. None if the app does not encrypt.
        journal: reads an instance's journal, or returns None if it changed meanwhile. None: journals are not checked.
    """

    served: Mapping[tuple[str, str], AnyDefinition]
    records: RecordCipher | None = None
    journal: Callable[[Instance], tuple[str, ...] | None] | None = None

    # ------------------------------------------------------------ instances
    def instance(self, row: StoredInstance) -> Iterator[Finding]:
        """Return the findings about an instance."""
        at, found = row.address, row.instance
        yield from check_instance(row)
        if isinstance(found, StoreCorrupt):
            return
        found = found if self.records is None else self.records.instance(found)
        job = self.served.get((at.kind, at.name))
        if job is None:
            yield finding_at(
                FindingTopic.NOT_SERVED, at, "the app has no such job: its alarms do not fire, its messages wait"
            )
            return
        try:
            present = check_readable(job, found)
        except InvalidInput as problem:
            yield finding_at(FindingTopic.UNREADABLE, at, "; ".join(problem.problems))
            return
        try:
            self._check_journal(job, present)
        except InvalidInput as problem:
            yield finding_at(FindingTopic.DIVERGES, at, "; ".join(problem.problems))
            return
        except StoreCorrupt as damage:
            yield finding_at(FindingTopic.DAMAGED, at, damage.reason)
            return
        yield from _readable(job, found, present)

    def _check_journal(self, job: AnyDefinition, instance: Instance) -> None:
        rows = None if not job.keeps_journal or self.journal is None else self.journal(instance)
        if rows is not None:
            at = str(instance.address)
            job.check_journal(instance, rows if self.records is None else self.records.journal(rows, at, 0))

    # ------------------------------------------------------------ messages and keys
    def message(self, row: StoredMessage | StoreCorrupt, topic: FindingTopic) -> Iterator[Finding]:
        """Return the findings about a message: can its target decode it?"""
        if isinstance(row, StoreCorrupt):
            yield from check_message(row)
            return
        row = row if self.records is None else self.records.message(row)
        target, example = row.message.target, f"message {row.message_id} to {row.message.target}"
        job = self.served.get((target.kind, target.name))
        if job is None:
            waiting = FindingTopic.WAITING if topic is FindingTopic.MESSAGE else topic
            yield finding(waiting, _job_of(target), "the app has no such job", example)
            return
        try:
            received(job, row.message.action, row.message.payload)
        except InvalidInput as problem:
            reason = f"{row.message.action}: {'; '.join(problem.problems)}"
            yield finding(topic, _job_of(target), reason, example)
        except UnknownAction as problem:
            yield finding(topic, _job_of(target), str(problem), example)

    def answer(self, row: RememberedAnswer) -> Iterator[Finding]:
        """Return the findings about a key's stored answer: can it be returned again?"""
        yield from check_answer(row)
        at = row.address
        if isinstance(at, StoreCorrupt):
            return
        job = self.served.get((at.kind, at.name))
        if job is None:
            return  # no caller can use the key, and it expires
        answer = row.answer
        if self.records is not None:
            answer = self.records.answer(answer, str(at), row.key, row.action)
        try:
            job.plan.answers.open(answer.encode())
        except InvalidInput as problem:
            reason = f"{row.action}: {'; '.join(problem.problems)}"
            yield finding(FindingTopic.ANSWER, _job_of(at), reason, f"key {row.key!r} of {at}")


def _job_of(at: Address) -> str:
    return f"{at.kind}:{at.name}"


def _readable(job: AnyDefinition, instance: Instance, present: Instance) -> Iterator[Finding]:
    """Return the findings about an instance that this code can decode."""
    at = instance.address
    if instance.state_version != present.state_version:
        reason = f"version {instance.state_version} is read as version {present.state_version}"
        yield finding_at(FindingTopic.OLDER, at, reason)
    # Only without a new version: an upgrade writes the new form anyway.
    elif _is_reshaped(job, instance):
        reason = "its type changed without a new version: the next commit writes it in the new form"
        yield finding_at(FindingTopic.RESHAPED, at, reason)
    if instance.left is not None:
        yield finding_at(FindingTopic.RESUMES, at, "other code left it, and this code can read it")
    stale = job.stale_alarm(present)
    if stale is not None:
        yield finding_at(FindingTopic.ALARM, at, stale)
    yield from _errors(job, present)


def _is_reshaped(job: AnyDefinition, instance: Instance) -> bool:
    codec = job.plan.state
    pairs: list[tuple[str, str]] = []

    def written_again(encoded: str) -> str:
        opened = codec.open(encoded.encode())
        pairs.append((encoded, codec.close(opened.value, opened)[0].decode()))
        return encoded

    job.map_states(instance, written_again)
    # Spaces and the order of members may differ without a change of the type.
    return any(before != after and _names_differ(before, after) for before, after in pairs)


def _names_differ(before: str, after: str) -> bool:
    return fingerprint(before.encode()) != fingerprint(after.encode())


def _errors(job: AnyDefinition, instance: Instance) -> Iterator[Finding]:
    """Return the stored errors that would be shown by name and text only."""
    codec, pending_retry = job.plan.errors, instance.pending_retry
    records = {
        record for record in (instance.last_error, None if pending_retry is None else pending_retry.error) if record
    }
    for record in records:
        if record.data is None or codec is None:
            continue
        try:
            codec.open(record.data.encode())
        except InvalidInput as problem:
            yield finding_at(FindingTopic.ERROR, instance.address, "; ".join(problem.problems))


CAN_READ: Final = "this code can decode everything"


def check(
    app: AppArgument,
    *,
    store: StoreIfAny = None,
    deploy: Path | None = None,
    unserved: Literal["problem", "note"] = "problem",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Report stored data that the code of an app cannot decode, or with `--deploy` its changes since a version.

    Run it with the new code before you deploy it.

    It reads every instance, undelivered message, claim and idempotency key, and replays every workflow. It runs beside
    an engine that owns the store or without one, takes no lock and writes nothing. It prints which code files it
    imported: a folder in PYTHONPATH comes before the current one.

    With --deploy it reads no store. It prints each type or job that changed since the app version whose definitions are
    in the file, and whether the change needs a version or a deploy order.

    It names each job that may have more runs than an engine has slots for it, which is no problem of the data.

    Exit code: 0 the code can decode everything, or no change needs a version, 1 there are problems, 2 the check cannot
    start.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    deploy
        A file with the output that perdure definitions printed for the deployed version.
    unserved
        Whether instances whose job the app does not serve, and messages to them, are a problem.
    json
        Print one JSON object instead of text.
    """
    if deploy is not None:
        return _deploy(import_app(app), deploy, json=json)
    if store is None:
        raise UsageError(
            "name a store, --store sqlite:///jobs.db, or a file to compare with, --deploy definitions.json"
        )
    # Before the import, so that the report can say which files the app's code came from.
    before = set(sys.modules)
    code = import_app(app)
    files = imported_code(app, before)
    accepted = (
        frozenset({FindingTopic.NOT_SERVED, FindingTopic.WAITING}) if unserved == "note" else frozenset[FindingTopic]()
    )
    report, line = Report(shown_url(store), accepted), line_on_stderr()
    with probed(store, line) as reader:
        judge = RowCheck(code.served, records_of(code), partial(at_rest.journal, reader))
        scan(reader, judge, report, now_ms=time.time_ns() // 1_000_000, progress=Progress(line).show)
    slots = [str(found) for found in too_many_runs(code.limits, code.served)]
    if json:
        write_object({"code": files, "slots": slots} | report.data)
    else:
        imported = [f"code: {name} from {file}" for name, file in files.items()]
        write_lines([*imported, *(f"slots: {sentence}" for sentence in slots), ""])
        write_lines(report.lines(CAN_READ))
    return report.exit_code


def definitions(app: AppArgument) -> int:
    """Print the types of an app's jobs, which `perdure check --deploy` compares with those of a later version.

    Equal definitions print equal text: commit it, or keep it beside each release.

    Exit code: 0 done, 2 the app cannot be imported.
    """
    write_lines(text_of(types_of(import_app(app).served.values())).splitlines())
    return ExitCode.DONE


def _deploy(code: App[Any], deployed: Path, *, json: bool) -> int:
    rows = changes(read_types(deployed), types_of(code.served.values()))
    if json:
        write_object({"changes": [attrs.asdict(row) for row in rows], "order": order_of(rows)})
    else:
        if rows:
            cells = tuple((row.effect, row.job, row.place, row.reason) for row in rows)
            write_table(Table(("CHANGE", "JOB", "PLACE", "REASON"), cells, frozenset({"REASON"})))
        write_lines([*([""] if rows else []), ORDERS[order_of(rows)]])
    return ExitCode.FAILED if order_of(rows) == "needs a version" else ExitCode.DONE
