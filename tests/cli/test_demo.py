"""``perdure demo`` as a shell runs it: killed half-way, and nothing lost; and proofs that fail when they should."""

import io
import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from returns.result import Success

from perdure.cli.demo.command import Plot, perform
from perdure.cli.demo.schedule import SETTLE_LIMIT_S, START_LIMIT_S, Timing
from perdure.cli.demo.screen import PlainScreen
from perdure.examples.incoming import IncomingOrder, IncomingWebhook, read_incoming
from perdure.examples.order_processor import Order, OrderPlaced, decide_order
from perdure.jobs.context import AlarmAfter
from perdure.values.times import duration_ms

SHORT = ("--seconds", "2")
FORGOTTEN = "evt_forgotten"  # by the forgetful worker


def number(command, label: str) -> int:
    """A number of the proof."""
    found = re.search(rf"^ *{label} +(\d+)  ", "\n".join(command.seen), re.MULTILINE)
    assert found is not None, command.story
    return int(found[1])


def expected_of_the_shipped_events() -> tuple[int, int, int]:
    """The results of the pure state machine alone: accepted, rejected, sent again by their source."""
    orders: dict[str, Order] = {}
    verdicts: dict[str, bool] = {}
    repeats = 0
    with files("perdure.examples").joinpath("events.jsonl").open("rb") as lines:
        for incoming in read_incoming(lines):
            assert isinstance(incoming, IncomingWebhook | IncomingOrder), incoming
            if verdicts.get(incoming.id):
                repeats += 1
            elif isinstance(incoming, IncomingWebhook):
                verdicts[incoming.id] = True
            else:
                decided = decide_order(orders.get(incoming.order, Order()), incoming.event)
                verdicts[incoming.id] = isinstance(decided, Success)
                if isinstance(decided, Success):
                    orders[incoming.order] = decided.unwrap().state
    return sum(verdicts.values()), len(verdicts) - sum(verdicts.values()), repeats


def test_nothing_is_lost_when_the_worker_is_killed(start, tmp_path):
    command = start("demo", *SHORT)
    store = Path(command.line(" store ").split()[3].rstrip(","))
    assert command.end() == 0, command.story
    accepted, rejected, repeats = expected_of_the_shipped_events()
    assert number(command, "accepted") == accepted
    assert number(command, "processed") == accepted
    assert number(command, "rejected") == rejected
    assert number(command, "duplicates suppressed") >= repeats
    assert number(command, "sent") == accepted + rejected + number(command, "duplicates suppressed")
    assert number(command, "delivered again") > 0
    assert [number(command, label) for label in ("done twice", "unanswered", "lost")] == [0, 0, 0]
    assert "The proof holds" in command.seen[-1]
    assert not store.parent.exists()


@pytest.mark.parametrize("seconds", [2, 20, 3600])
def test_a_payment_is_not_refused_because_the_machine_is_slow(seconds):
    pace = Timing(seconds).pace
    placed = decide_order(Order(), OrderPlaced("ada@example.com", 4990), pace.patience).unwrap()
    assert isinstance(placed.alarm, AlarmAfter)
    assert duration_ms(placed.alarm.delay, what="patience") >= 1000 * (
        10 * seconds + 2 * START_LIMIT_S + SETTLE_LIMIT_S
    )


def test_it_prints_its_actions_in_plain_lines(start):
    command = start("demo", *SHORT)
    assert command.end() == 0, command.story
    text = "\n".join(command.seen)
    steps = ["started", "feeding", "killed", "restarted", "recovered", "resent", "feeding", "settling", "stopped"]
    assert re.findall(r"^ +\d+\.\d s  (\w+) ", text, re.MULTILINE)[1:] == steps
    assert "\x1b" not in text
    assert command.error == ""


def test_a_store_of_ones_own_is_kept_and_never_overwritten(start, tmp_path):
    events = tmp_path / "events.jsonl"
    events.write_text('{"type":"webhook","id":"evt_1","contact":"ada","kind":"push","payload":{"ref":"main"}}\n')
    command = start("demo", *SHORT, "--events", "events.jsonl", "--store", "kept.db")
    assert command.end() == 0, command.story
    assert "Kept: kept.db" in command.seen[-1]
    with closing(sqlite3.connect(tmp_path / "kept.db")) as connection:
        assert connection.execute("select count(*) from events").fetchone()[0] > 0
    assert "evt_1" in (tmp_path / "kept.db.sink.jsonl").read_text()
    again = start("demo", *SHORT, "--store", "kept.db")
    assert again.end() == 2
    assert "kept.db exists; the demo needs a new file" in again.error


def test_lines_that_are_no_events_are_reported_and_passed_over(start, tmp_path):
    lines = [
        '{"type":"webhook","id":"evt_1","contact":"ada","kind":"push","payload":null}',
        "",
        '{"type":"webhook","id":"evt_2","contact":"ada","kind":"push"}',
        "not JSON",
        '{"type":"order","id":"evt_3","order":"o","event":{"type":"placed","owner":"ada@example.com","amount":"ten"}}',
        '{"type":"webhook","id":"evt_1","contact":"bob","kind":"push","payload":null}',
        '{"type":"webhook","id":"evt_4","contact":"","kind":"push","payload":null}',
        '{"type":"order","id":"evt_5","order":"o","event":{"type":"placed","owner":"ada@example.com","amount":10}}',
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    command = start("demo", *SHORT, "--events", "events.jsonl")
    assert command.end() == 0, command.story
    skipped = [re.sub(r".*skipped +", "", line) for line in command.seen if " skipped " in line]
    assert [line.split(":")[0] for line in skipped] == ["line 3", "line 4", "line 5", "line 6", "line 7"]
    assert "payload" in skipped[0]
    assert "expected int, got 'ten'" in skipped[2]
    assert "'evt_1' was the id of another event" in skipped[3]
    assert number(command, "accepted") == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read: No such file"), ("\n", "contains no event"), ("[]\n", "line 1: $: expected")],
)
def test_events_that_are_none(start, tmp_path, text, said):
    if text is not None:
        (tmp_path / "events.jsonl").write_text(text)
    command = start("demo", "--events", "events.jsonl")
    assert command.end() == 2
    assert said in command.error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seconds", "1"), "pass 2 to 3600"),
        (("--store", "no/such/folder/jobs.db"), "the folder no/such/folder does not exist"),
    ],
)
def test_options_that_cannot_be(start, arguments, said):
    command = start("demo", *arguments)
    assert command.end() == 2
    assert said in command.error


def test_an_interrupt_leaves_no_process_behind(start):
    command = start("demo")
    worker = int(command.line(" started ").split()[4])
    command.signal(signal.SIGINT)
    assert command.end() == 130
    assert "interrupted" in command.error
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


# ---------------------------------------------------------------- a proof that cannot fail proves nothing
def output_of(worker: str, tmp_path: Path) -> tuple[int, str]:
    """Run the demo with a worker that is not the usual one."""
    script = Path(__file__).with_name(worker)
    order = IncomingOrder("evt_order", "order-1", OrderPlaced("ada@example.com", 4990))
    hooks = [IncomingWebhook(f"evt_{n}", f"contact-{n % 3}", "push", None) for n in range(12)]
    forgotten = IncomingWebhook(FORGOTTEN, "contact-1", "push", None)
    plot = Plot(
        store=tmp_path / "jobs.db",
        source="a test",
        events=(order, *hooks[:6], forgotten, *hooks[6:]),
        timing=Timing(2.0),
        seed=1,
        worker=(sys.executable, str(script)),
    )
    out = io.StringIO()
    return perform(plot, (), PlainScreen(out)), out.getvalue()


def test_an_event_that_the_worker_drops_is_found_missing(tmp_path):
    code, text = output_of("forgetful_worker.py", tmp_path)
    assert code == 1
    assert re.search(rf"^ *lost +1 .*: {FORGOTTEN}$", text, re.MULTILINE), text
    assert "The proof does NOT hold" in text


def test_a_worker_that_cannot_start_ends_the_demo(tmp_path, capsys):
    code, _ = output_of("no_such_worker.py", tmp_path)
    assert code == 1
    assert "the worker ended before it had opened the store" in capsys.readouterr().err
