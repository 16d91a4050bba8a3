"""Each private number that bounds a loop, a page or a queue is in `Sizes`, which worlds draw small, or is explained."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from perdure import App
from perdure.runtime.record import Sizes
from perdure.testing import World
from perdure.testing.world.world import with_sizes

SOURCE = Path(__file__).parents[2] / "src" / "perdure"
PACKAGES = ("client", "engine", "jobs", "kinds", "programs", "stores")

UNITS = ("_ms", "_s")
"""Durations: the simulated clock passes each of them in no time."""

BOUNDS = ("limit", "most", "size", "page", "pages", "room", "chunk", "maxlen", "maxsize", "block", "largest", "within")
"""The names of parameters that bound something."""

NUMBERS = "a number of a format or of a protocol, the same in all processes"
END = "the end of a range of integers, which no value reaches"
TRIES = "tries before a typed error, which the caller repeats; more tries find no other result"
TEXT = "entries of a text or a report for people; nothing waits for the others"
PUBLIC = "the default or the range of a public option, reached in tests/limits"
RATIO = "a ratio, which bounds nothing"
PAUSE = "the power of two of a pause"
DISK = "a size of the disk format or of one read or write of the disk"

EXPLAINED = {
    "kinds/task/definition.py:MAX_REPLIES": "replies that a definition declares; a change is one of the interface",
    "engine/mailbox/instance_cell.py:JOINT_CONFLICTS": "conflicts of messages in one commit; then each has its own",
    "engine/reporting.py:MAX_BLOCKED_PLACES": TEXT,
    "engine/caller_reads.py:BUSIEST": TEXT,
    "jobs/redaction.py:MAX_PAYLOAD_IN_EVENT": PUBLIC,
    "kinds/schedules/definition.py:SHOWN_FIRINGS": TEXT,
    "kinds/schedules/entry.py:_made: maxsize": "a cache of answers that are computed again",
    "kinds/schedules/handler.py:MAX_FIRED_RANGES": PUBLIC,
    "kinds/schedules/handler.py:MAX_SHOWN": TEXT,
    "kinds/topic/definition.py:DEFAULT_SUBSCRIBERS": PUBLIC,
    "kinds/topic/definition.py:DEFAULT_WAITING": PUBLIC,
    "kinds/topic/definition.py:MOST_SUBSCRIBERS": PUBLIC,
    "kinds/topic/definition.py:MOST_WAITING": PUBLIC,
    "kinds/topic/entry.py:MOST_ON_PAGE": PUBLIC,
    "kinds/topic/entry.py:PAGE": PUBLIC,
    "kinds/topic/handler.py:SENT_BYTES": "the bytes of one commit; a test of topics crosses it",
    "kinds/topic/handler.py:SHOWN": TEXT,
    "kinds/topic/handler.py:: maxlen": "a cache of answers that are computed again",
    "kinds/worker_pool/batch.py:MAX_FAILURES": PUBLIC,
    "kinds/worker_pool/batch_turns.py:MAX_WAITERS": PUBLIC,
    "kinds/worker_pool/definition.py:PoolBatch.__init__(failures)": PUBLIC,
    "kinds/worker_pool/items.py:MAX_ERROR_CHARACTERS": TEXT,
    "kinds/workflow/journal.py:MAX_CONTINUED": PUBLIC,
    "kinds/workflow/journal.py:MAX_FORKED_BYTES": PUBLIC,
    "kinds/workflow/journal.py:MAX_FORKED_PARTS": PUBLIC,
    "client/gateway.py:MAX_TOGETHER": PUBLIC,
    "client/gateway.py:MAX_WANTED": PUBLIC,
    "client/client.py:Client.dead_letters(limit)": PUBLIC,
    "client/client.py:Client.history(limit)": PUBLIC,
    "client/client.py:Client.left_messages(limit)": PUBLIC,
    "client/client.py:Client.list(limit)": PUBLIC,
    "client/gateway.py:JobByName.fork_many(limit)": PUBLIC,
    "client/gateway.py:JobByName.history(limit)": PUBLIC,
    "engine/commits.py:MAX_CONFLICTS": TRIES,
    "engine/commits.py:MAX_SHARED_CONFLICTS": TRIES,
    "engine/commits.py:back_off_ms: min(tried, 6)": PAUSE,
    "engine/loops/alarms.py:READ_ALONE": RATIO,
    "engine/loops/alarms.py:_LAST": END,
    "engine/loops/fair_queue.py:NEWER": END,
    "engine/loops/outbox.py:MAX_COUNTED": TEXT,
    "engine/loops/outbox.py:MAX_NAMED": TEXT,
    "engine/mailbox/entry.py:MailboxEntry.next_elsewhere_retry_ms: min(self.elsewhere_retries, 10)": PAUSE,
    "engine/mailbox/instance_cache.py:MOST_CURRENT": RATIO,
    "engine/mailbox/instance_cell.py:DECODED_FACTOR": RATIO,
    "engine/mailbox/instance_cell.py:OVERHEAD_BYTES": "an estimate; worlds draw the bound of the cache itself",
    "engine/mailbox/instance_cache.py:MOST_NEW": RATIO,
    "engine/reporting.py:HookChecks.first": "a sample of runs; worlds inspect each",
    "engine/reporting.py:HookChecks.one_of": "a sample of runs; worlds inspect each",
    "engine/loops/start_queue.py:MAX_TRIES": TRIES,
    "engine/loops/rate_limits.py:MAX_TRIES": "tries over an entry that others change; then the runs wait",
    "engine/runs/effects.py:MAX_CONFLICTS": TRIES,
    "engine/streams.py:MAX_GROUP_BYTES": "the bytes of one row; worlds draw the number of its chunks",
    "jobs/streams.py:MAX_STREAMS": PUBLIC,
    "jobs/streams.py:MAX_HEARTBEATS": PUBLIC,
    "jobs/streams.py:MOST_BYTES": PUBLIC,
    "jobs/streams.py:MOST_CHUNKS": PUBLIC,
    "jobs/streams.py:LEAST_BYTES": PUBLIC,
    "engine/runs/permits.py:MAX_KEY_CHARACTERS": PUBLIC,
    "engine/runs/named_limits.py:MAX_CONFLICTS": "tries over an entry that others change; then the runs wait",
    "engine/runs/permits.py:BUSY": "runs since a plan: with more, permits are asked for early; a law draws both",
    "engine/sharing.py:HEARTBEATS": RATIO,
    "engine/sharing.py:Membership._pause_ms: min(self._failures - 1, 16)": PAUSE,
    "engine/sharing.py:SURE": RATIO,
    "jobs/attributes.py:_DIGITS": NUMBERS,
    "jobs/code_fingerprint.py:MAX_CACHED": "a cache of answers that are computed again",
    "jobs/code_fingerprint.py:MAX_FUNCTIONS": "functions of one definition that a fingerprint covers",
    "jobs/code_fingerprint.py:MESSAGE_FORMAT": "the number of a form",
    "jobs/code_fingerprint.py:_DIGITS": NUMBERS,
    "jobs/context.py:_ADDRESS_CHARACTERS": TEXT,
    "jobs/transitions.py:MAX_TOLD": TEXT,
    "jobs/ensured.py:MAX_ENSURED": PUBLIC,
    "jobs/explanation.py:_ROOM_FOR_IDS": NUMBERS,
    "jobs/hooks.py:_value_argument: len(arguments) > 2": NUMBERS,
    "jobs/keys.py:MAX_KEY_CHARACTERS": PUBLIC,
    "jobs/plan.py:_services_of: len(arguments) > 2": NUMBERS,
    "jobs/plan.py:MOST_DEATHS": PUBLIC,
    "jobs/plan.py:Plan.max_deaths": PUBLIC,
    "jobs/plan.py:build_plan(max_deaths)": PUBLIC,
    "kinds/continuous/definition.py:Continuous.__init__(max_deaths)": PUBLIC,
    "kinds/debounce/definition.py:Debounce.__init__(max_deaths)": PUBLIC,
    "kinds/task/definition.py:Task.__init__(max_deaths)": PUBLIC,
    "kinds/worker_pool/definition.py:WorkerPool.__init__(max_deaths)": PUBLIC,
    "kinds/workflow/definition.py:Workflow.__init__(max_deaths)": PUBLIC,
    "client/reading.py:MOST_READS": TRIES,
    "jobs/parts.py:_MAX_BYTES_OF_CHARACTER": NUMBERS,
    "jobs/recovery.py:MAX_RECOVERIES": TRIES,
    "jobs/request.py:_VERSION_8": NUMBERS,
    "engine/runs/concurrency.py:MOST_KEPT": RATIO,
    "engine/runs/concurrency.py:SPARE": RATIO,
    "kinds/debounce/definition.py:MAX_BATCH_EVENTS": PUBLIC,
    "kinds/task/handler.py:MAX_BYTES_OF_CHARACTER": NUMBERS,
    "kinds/worker_pool/definition.py:DEFAULT_WORKERS": PUBLIC,
    "kinds/worker_pool/batch_turns.py:LOOKS_OF_PAUSE": RATIO,
    "kinds/worker_pool/batch_turns.py:PAUSES_OF_WAIT": RATIO,
    "kinds/workflow/handle.py:FORKS_OF_A_PAGE": PUBLIC,
    "kinds/worker_pool/handle.py:DEFAULT_CHUNK": PUBLIC,
    "kinds/worker_pool/handle.py:MAX_CHUNK": PUBLIC,
    "kinds/worker_pool/items.py:MAX_ITEM_WAITERS": PUBLIC,
    "kinds/worker_pool/items.py:MAX_KEY_CHARACTERS": PUBLIC,
    "kinds/workflow/children.py:MAX_PARKED": TEXT,
    "kinds/workflow/declared_steps.py:MAX_STEPS": "nodes of a picture of the code",
    "kinds/workflow/definition.py:DEFAULT_INBOX": PUBLIC,
    "kinds/workflow/definition.py:DEFAULT_MAX_STEPS": PUBLIC,
    "kinds/workflow/definition.py:MAX_LIMIT": PUBLIC,
    "kinds/workflow/definition.py:MAX_PUBLISHED": PUBLIC,
    "kinds/workflow/definition.py:MAX_UNDER_WAY": PUBLIC,
    "kinds/worker_pool/definition.py:WorkerPool.journal_format": NUMBERS,
    "kinds/workflow/definition.py:Workflow.journal_format": NUMBERS,
    "kinds/workflow/header.py:MAX_WATCHERS": PUBLIC,
    "kinds/workflow/journal.py:MAX_PUBLISHED_BYTES": PUBLIC,
    "kinds/workflow/journal.py:PARTS_IN_COMMIT": "crossed by the tests of large outcomes, whose rows are small",
    "kinds/workflow/progress.py:FULL_ERRORS": TEXT,
    "kinds/workflow/progress.py:waits_of(most)": TEXT,
    "kinds/workflow/replay.py:Replay.advance(instructions)": END,
    "kinds/workflow/run_commits.py:MAX_KEPT_REPLIES": "documented, with a test at its edge",
    "kinds/workflow/run_commits.py:_unreceived(most)": TEXT,
    "programs/constructors.py:DEFAULT_LIMIT": PUBLIC,
    "programs/drivers.py:_MAX_REFUSALS": TRIES,
    "programs/effect_results.py:_may_return_none: maxsize": "a cache of answers that are computed again",
    "programs/instructions.py:: range(8)": NUMBERS,
    "programs/instructions.py:: range(8, 17)": NUMBERS,
    "stores/attributes.py:SPARSE": RATIO,
    "stores/copying.py:PAGE_CHARACTERS": "crossed by a test of large chunks",
    "stores/copying.py:PAGE_ROWS": "crossed by the conformance suite of each store",
    "stores/encryption/keys.py:KEY_BYTES": NUMBERS,
    "stores/encryption/keys.py:MAX_KEYS": PUBLIC,
    "stores/encryption/sealed_store.py:SAMPLE": "a sample of instances for a warning",
    "stores/memory/opening.py:_ALL": END,
    "stores/postgres/opening.py:_EVENT_WIDTH": NUMBERS,
    "stores/postgres/opening.py:_LAST": END,
    "stores/postgres/operations.py:_REPEATS": TRIES,
    "stores/postgres/ownership.py:_OWNER": NUMBERS,
    "stores/postgres/ownership.py:_PROBED": NUMBERS,
    "stores/postgres/queries.py:SELDOM": RATIO,
    "stores/postgres/queries.py:_BEFORE_ALL": END,
    "stores/postgres/queries.py:_COUNTING": NUMBERS,
    "stores/postgres/queries.py:_FIRST": END,
    "stores/postgres/schema.py:TRIES": TRIES,
    "stores/postgres/schema.py:_MIGRATING": NUMBERS,
    "stores/postgres/settings.py:MAX_PORT": NUMBERS,
    "stores/postgres/opening.py:_FIRST": END,
    "stores/postgres/opening.py:_SIGN": END,
    "stores/rows.py:_AFTER_SURROGATES": NUMBERS,
    "stores/rows.py:_FIRST_SURROGATE": NUMBERS,
    "stores/rows.py:_LIMIT": TEXT,
    "stores/rows.py:_SHOWN": TEXT,
    "stores/shares.py:BUCKETS": NUMBERS,
    "stores/sqlite/__init__.py:DEFAULT_CACHE_BYTES": PUBLIC,
    "stores/sqlite/backup.py:STEP_PAGES": "a parameter of `open_file`, which the tests of backups draw",
    "stores/sqlite/files.py:MAX_SOCKET_PATH_BYTES": NUMBERS,
    "stores/sqlite/files.py:PRIVATE": NUMBERS,
    "stores/sqlite/files.py:_MAX_NAME_BYTES": NUMBERS,
    "stores/sqlite/lock.py:_SHARED_FIRST": NUMBERS,
    "stores/sqlite/lock.py:_SHARED_SIZE": NUMBERS,
    "stores/sqlite/log_frames.py:FRAME_BYTES": NUMBERS,
    "stores/sqlite/log_frames.py:HEADER_BYTES": NUMBERS,
    "stores/sqlite/log_frames.py:MAX_TAIL_FRAMES": DISK,
    "stores/sqlite/log_frames.py:_BIG_ENDIAN": NUMBERS,
    "stores/sqlite/log_frames.py:_TRIES": TRIES,
    "stores/sqlite/log_frames.py:_summed.first": NUMBERS,
    "stores/sqlite/log_frames.py:_summed.second": NUMBERS,
    "stores/sqlite/object_storage.py:PIECE_PAGES": "a parameter of `Shipper`, which the laws of shipping set",
    "stores/sqlite/ownership.py:_BLOCK_BYTES": DISK,
    "stores/sqlite/queries.py:Search.portion: len(self._fixed) < 2": NUMBERS,
    "stores/sqlite/schema.py:FIRST_WITH_HISTORIES": NUMBERS,
    "stores/sqlite/queries.py:_FIRST": END,
    "stores/sqlite/queries.py:_LAST": END,
    "stores/sqlite/queries.py:due: range(5, 5 + 2 * len(except_jobs), 2)": NUMBERS,
    "stores/sqlite/reader.py:MAX_FINDINGS": TEXT,
    "stores/sqlite/reader.py:MAX_LOG_GROWTH_BYTES": DISK,
    "stores/sqlite/reader.py:_STEP_INSTRUCTIONS": DISK,
    "stores/sqlite/reader.py:_STEP_PAGES": DISK,
    "stores/sqlite/schema.py:APPLICATION_ID": NUMBERS,
    "stores/sqlite/schema.py:CHECKPOINT_PAGES": "a parameter of `open_file`, which the power cuts set",
    "stores/sqlite/schema.py:LOG_LIMIT_BYTES": DISK,
    "stores/sqlite/schema.py:_FRAME_BYTES": NUMBERS,
    "stores/sqlite/schema.py:_HEADER_BYTES": NUMBERS,
    "stores/sqlite/shipping.py:MAX_PIECES": "objects of one copy and its changes; then another copy begins",
    "stores/sqlite/shipping.py:MIN_GROWTH_BYTES": DISK,
    "stores/sqlite/shipping.py:_FETCHED": "objects that are read together; no result depends on it",
    "stores/sqlite/shipping.py:_HASH_BYTES": NUMBERS,
    "stores/sqlite/shipping.py:_LOOKS": TRIES,
    "stores/sqlite/shipping.py:_TURNS_OF_A_WINDOW": RATIO,
    "stores/values.py:DEFAULT_CACHE_BYTES": PUBLIC,
    "stores/values.py:Query.limit": "each caller passes its own",
    "stores/values.py:Retention.limit": "the engine passes `Limits.recovery_page`",
}


def private_numbers(text: str) -> Iterator[str]:
    """Yield the names of a module's numbers, and each bound that is written as a number."""
    for node, name in named(ast.parse(text), ""):
        yield from found_in(node, name)


def named(node: ast.AST, inside: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".lstrip(".")
        yield child, name
        yield from named(child, name)


def found_in(node: ast.AST, name: str) -> Iterator[str]:
    match node:
        case (
            ast.Assign(targets=[ast.Name(id=target)], value=value)
            | ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value)
        ):
            if is_number(value) and not target.lower().endswith(UNITS):
                yield f"{name}.{target}".lstrip(".")
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            places = [*node.args.posonlyargs, *node.args.args]
            defaults = zip(reversed(places), reversed(node.args.defaults), strict=False)
            for argument, default in (*defaults, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)):
                if default is not None and is_number(default) and not argument.arg.endswith(UNITS):
                    yield f"{name}({argument.arg})"
        case ast.Call(func=ast.Name(id="range" | "min" | "max"), args=args) if any(map(is_number, args)):
            yield f"{name}: {ast.unparse(node)}"
        case ast.keyword(arg=argument, value=value) if argument in BOUNDS and is_number(value):
            yield f"{name}: {argument}"
        case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()], comparators=[right]):
            if is_number(right) or is_number(node.left):
                yield f"{name}: {ast.unparse(node)}"
        case _:
            pass


def is_number(node: ast.expr) -> bool:
    """Whether an expression is made of numbers, and more than 1: no loop is cut by the others."""
    match node:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float() as value):
            return value not in (0, 1)
        case ast.BinOp():
            return all(isinstance(each, ast.Constant | ast.BinOp) for each in (node.left, node.right)) and (
                is_number(node.left) or is_number(node.right)
            )
        case ast.UnaryOp(op=ast.USub()):
            return is_number(node.operand)
        case _:
            return False


def test_each_private_number_is_a_size_or_is_explained() -> None:
    found = {
        f"{file.relative_to(SOURCE)}:{name}"
        for package in PACKAGES
        for file in (SOURCE / package).rglob("*.py")
        for name in private_numbers(file.read_text(encoding="utf-8"))
    }
    assert sorted(found - EXPLAINED.keys()) == [], "a field of perdure.runtime.record.Sizes, or say why it is none"
    assert sorted(EXPLAINED.keys() - found) == [], "not there any more"


def test_each_size_is_read() -> None:
    """A size that nothing reads is drawn without effect: the constant that it replaced may be there still."""
    texts = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    assert [field.name for field in attrs.fields(Sizes) if f"sizes.{field.name}" not in texts.lower()] == []


@pytest.mark.parametrize(
    "code",
    [
        "CHUNK = 500",
        "CHUNK: Final = 2 * 1_024",
        "class A:\n    size: int = 64",
        "def f(page=500): ...",
        "def f(*, page: int = 500): ...",
        "for _ in range(20): ...",
        "read(limit=100)",
        "deque(maxlen=9)",
        "if tried > 5: ...",
        "min(64, wanted)",
    ],
)
def test_a_bound_is_found_however_it_is_written(code: str) -> None:
    assert len(list(private_numbers(code))) == 1


@pytest.mark.parametrize(
    "code", ["A = 1", "WAIT_MS = 500", "def f(wait_ms=500): ...", "row[:5]", "f(limit=page)", "A = True"]
)
def test_other_numbers_are_not(code: str) -> None:
    assert list(private_numbers(code)) == []


def test_a_reproduction_of_a_world_has_its_sizes() -> None:
    with with_sizes(World(App(None)), Sizes(batch=2)) as world:
        text = world.trace_text()
    assert "    with with_sizes(World(" in text
    assert "), Sizes(batch=2, group=1000, " in text
    assert "from perdure.testing.world.world import with_sizes" in text
