"""``perdure rehearse``: two versions of one module, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from postgres_harness import PostgresHarness

from perdure.cli.commands import run_command
from perdure.cli.process import ExitCode
from perdure.rehearsal import Image, read_image
from perdure.stores.at_rest import open_reader
from perdure.stores.snapshots import write_snapshots
from perdure.values.address import Address
from perdure.values.instance import Instance

OLD = """
    from hypothesis import strategies as st
    from perdure import App, Do, Task, TaskContext, attribute, effect, program
    from returns.result import Result, Success

    print("imported")  # not part of any answer

    @effect
    def charge(services: object, customer: str, cents: int) -> Result[int, str]:
        return services.bank(cents)

    @effect
    def undeclared(services: object):
        ...

    @program
    def on_event(ctx: TaskContext[int], event: int) -> Do[None, str, object]:
        yield from ctx.set_state(event)
        yield from ctx.schedule(after="7 days")

    @program
    def bill(ctx: TaskContext[int]) -> Do[None, str, object]:
        yield from charge(ctx.id, (yield from ctx.state))
        yield from ctx.schedule(after="7 days")

    class Bank:
        def bank(self, cents: int) -> Result[int, str]:
            return Success(cents)

    bank = Bank
    @attribute
    def cents(state: int) -> int:
        return state

    task = Task(
        "plan",
        state=int,
        event=int,
        initial=0,
        on_event=on_event,
        execute=bill,
        attributes=(cents,),
        accepted_in_events="payload",
    )
    drawn = {"task:plan.send": st.just(30)}
    app = App(object()).with_jobs(task)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the code of today and one for that of tomorrow, which is the current one, and a store."""
    for version in ("today", "tomorrow"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "billing_jobs.py").write_text(dedent(OLD), encoding="utf-8")
    script = dedent(
        """
        from billing_jobs import app, task
        from perdure.testing import World

        with World(app, store=__import__("pathlib").Path("../jobs.db")) as world:
            for n in range(3):
                world.run(world.handle(task).send(f"c{n}", 100 * n))
        """
    )
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=tmp_path / "today", check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    monkeypatch.chdir(tmp_path / "tomorrow")
    return tmp_path


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", "rehearse", "billing_jobs:app", "--against", "billing_jobs:app"]
    command += ["--against-directory", "../today", "--store", "sqlite:///../jobs.db", "--for", "15 days", *arguments]
    done = subprocess.run(command, cwd=folder / "tomorrow", capture_output=True, text=True, check=False)  # noqa: S603 - our own
    done.stderr = unboxed(done.stderr)
    return done


def unboxed(text: str) -> str:
    """Return an error without the frame around it."""
    return re.sub(r"[│╭╮╰╯─\s]+", " ", text)


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "tomorrow" / "billing_jobs.py"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_equal_code_is_equal(shop: Path) -> None:
    done = ran(shop)
    assert (done.returncode, done.stdout.splitlines()) == (
        ExitCode.DONE,
        [
            "0 of 3 instances have another future",
            "",
            "rehearsed 3 of 3 instances to the end",
            "answered by type alone, always the same: charge",
        ],
    )


def test_a_changed_interval_is_shown_with_an_example(shop: Path) -> None:
    change(shop, "(yield from ctx.state))", "1 + (yield from ctx.state))")
    done = ran(shop)
    assert done.returncode == ExitCode.FAILED
    assert done.stdout.splitlines()[:6] == [
        "3 of 3 instances have another future",
        "",
        "3 task:plan: charge has other arguments",
        "    task:plan:c0",
        "    - 2026-01-08 00:00:00  charge('c0', 0)",
        "    - 2026-01-15 00:00:00  charge('c0', 0)",
    ]
    data = json.loads(ran(shop, "--json", "--answer", "charge=7", "--id-prefix", "c1").stdout)
    assert (data["instances"], data["differing"], data["answered"]) == (1, 1, {"charge": {"given": 2}})
    assert [group["cause"] for group in data["groups"]] == ["arguments"]


def test_requests_arrive_from_the_history_or_drawn(shop: Path) -> None:
    change(shop, 'schedule(after="7 days")', 'schedule(after="6 days")')
    done = ran(shop, "--replay", "7 days", "--where", "cents>100", "--job", "task:plan")
    assert done.returncode == ExitCode.FAILED
    lines = done.stdout.splitlines()
    assert "task:plan: charge comes 1 d earlier" in lines[2]
    assert "  the filter chose 1 of 3 instances in the store" in lines
    assert any(line.startswith("arrivals: ") and "repeated from 1 h of history" in line for line in lines)
    data = json.loads(ran(shop, "--json", "--draw", "task:plan=2", "--strategies", "billing_jobs:drawn").stdout)
    assert data["arrivals"]["source"] == "drawn"
    assert data["arrivals"]["requests"] == 30
    assert data["chosen_by_the_filter"] == data["in_the_store"] == 3
    assert 3 < data["instances"] <= 3 + data["arrivals"]["instances"]


def test_a_snapshot_is_rehearsed_without_the_store(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file has numbers as ids, and no personal data."""
    change(shop, "(yield from ctx.state))", "1 + (yield from ctx.state))")
    written = ["snapshot", "--store", "sqlite:///../jobs.db", "--output", "rows.json", "--each", "2"]
    assert run_command(written) == ExitCode.DONE
    command = ["rehearse", "billing_jobs:app", "--against", "billing_jobs:app", "--against-directory", "../today"]
    capfd.readouterr()
    code = run_command([*command, "--snapshot", "rows.json", "--for", "15 days"])
    assert code == ExitCode.FAILED
    assert capfd.readouterr().out.splitlines()[:6] == [
        "2 of 2 instances have another future",
        "",
        "2 task:plan: charge has other arguments",
        "    task:plan:1",
        "    - 2026-01-08 00:00:00  charge('1', 0)",
        "    - 2026-01-15 00:00:00  charge('1', 0)",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--snapshot", "rows.json"], "No such file"),
        (["--snapshot", "billing_jobs.py"], "it is not JSON"),
        (["--snapshot", "rows.json", "--replay", "1 day"], "a snapshot has no history"),
        ([], "pass --store URL, or --snapshot FILE"),
    ],
)
def test_a_snapshot_that_cannot_be_read_says_why(
    shop: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert shop.is_dir()
    command = ["rehearse", "billing_jobs:app", "--against", "billing_jobs:app", *arguments]
    assert run_command(command) == ExitCode.MISCONFIGURED
    assert problem in unboxed(capsys.readouterr().err)


def test_an_instance_whose_journal_a_snapshot_leaves_out_is_left_out() -> None:
    rows = [
        Instance(address=Address("workflow", "w", n), created_ms=1, updated_ms=2, journal_length=length)
        for n, length in (("a", 1), ("b", 0))
    ]
    image = Image.from_snapshot(write_snapshots(rows), what="rows.json")
    assert (list(image.instances), image.total, image.unreadable) == ([rows[1].address], 2, 1)


def test_pictures_are_written_to_files(shop: Path) -> None:
    change(shop, "(yield from ctx.state))", "1 + (yield from ctx.state))")
    done = ran(shop, "--html", "report.html", "--svg", "picture.svg")
    assert done.returncode == ExitCode.FAILED
    assert "charge has other arguments" in (shop / "tomorrow" / "report.html").read_text(encoding="utf-8")
    assert (shop / "tomorrow" / "picture.svg").read_text(encoding="utf-8").startswith("<?xml")
    done = ran(shop, "--html", "nowhere/report.html")
    assert done.returncode == ExitCode.MISCONFIGURED
    assert "nowhere/report.html" in done.stderr


def test_a_history_without_inputs_cannot_be_replayed(shop: Path) -> None:
    done = ran(shop, "--replay", "7 days", "--id-prefix", "nothing")
    assert done.returncode == ExitCode.MISCONFIGURED
    assert "no instance matches" in done.stderr


def test_fakes_and_faults_are_given_on_the_command_line(shop: Path) -> None:
    by_fakes = json.loads(ran(shop, "--json", "--services", "billing_jobs:bank", "--fail", "charge=100%").stdout)
    assert by_fakes["answered"] == {"charge": {"fault": 3}}
    by_fakes = json.loads(ran(shop, "--json", "--services", "billing_jobs:bank", "--job", "task:plan").stdout)
    assert by_fakes["answered"] == {"charge": {"fakes": 6}}


def test_effects_without_an_answer_are_listed(shop: Path) -> None:
    change(shop, "charge(ctx.id, (yield", "undeclared()\n    yield from charge(ctx.id, (yield")
    done = ran(shop)
    assert done.returncode == ExitCode.MISCONFIGURED
    assert "no answers for 1 effects" in done.stderr
    assert "undeclared: it has no return annotation" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--for", "soon"], "soon"),
        (["--fail", "charge=7"], "write 5% or 0.05"),
        (["--answer", "charge"], "write --answer fetch=3"),
        (["--answer", "charge={"], "JSON"),
        (["--all", "--sample", "3"], "exclude each other"),
        (["--sample", "0"], "from 1 on"),
        (["--job", "plan"], "write kind:name"),
        (["--where", "cents>1"], "pass one --job"),
        (["--draw", "task:plan"], "write --draw task:orders=100"),
        (["--draw", "task:plan=-1"], "no number of requests a day"),
        (["--draw", "task:plan=1", "--replay", "1 day"], "exclude each other"),
        (["--replay", "lately"], "lately"),
        (["--strategies", "a:b"], "pass that as well"),
        (["--against-directory", "nowhere"], "there is no such folder"),
    ],
)
def test_a_bad_option_says_why(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["rehearse", "nothing:app", "--against", "nothing:app", "--store", f"sqlite:///{tmp_path}/jobs.db"]
    assert run_command([*command, *arguments]) == ExitCode.MISCONFIGURED
    assert problem in unboxed(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--id-prefix", "x"], "no instance matches"),
        (["--against-python", "/no/python"], "No such file"),
        (["--services", "billing_jobs:none"], "has no attribute 'none'"),
        (["--where", "euros>1", "--job", "task:plan"], "an attribute of task:plan: cents"),
        (["--draw", "task:plans=1"], "a job of the app: task:plan"),
        (["--draw", "task:plan=1", "--strategies", "billing_jobs:task"], "expected a dict"),
    ],
)
def test_an_empty_rehearsal_says_why(shop: Path, arguments: list[str], problem: str) -> None:
    done = ran(shop, *arguments)
    assert done.returncode == ExitCode.MISCONFIGURED
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_code_that_ends_its_process_is_reported(shop: Path) -> None:
    change(shop, "yield from charge(ctx.id", "__import__('os')._exit(7)\n    yield from charge(ctx.id")
    done = ran(shop)
    assert done.returncode == ExitCode.MISCONFIGURED
    assert "its process ended with the exit code 7" in done.stderr


# ---------------------------------------------------------------- beside live engines
ENGINE = """
    import asyncio
    import sys

    from billing_jobs import app, task


    async def main():
        async with app.open(sys.argv[1]) as jobs:
            orders = jobs.handle(task)
            print("ready", flush=True)
            while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
                await orders.send(line, 5)
                print("answered", flush=True)


    asyncio.run(main())
"""


@contextmanager
def engine(folder: Path, url: str, number: int) -> Generator[subprocess.Popen[str]]:
    """A live engine in a process of its own, which sends an event to each instance that it reads the id of."""
    with (folder / f"engine-{number}.log").open("w", encoding="utf-8") as log:
        command = [sys.executable, "-c", dedent(ENGINE), url]
        process = subprocess.Popen(  # noqa: S603 - our own
            command,
            cwd=folder / "today",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )
        try:
            assert process.stdout is not None
            while process.stdout.readline() != "ready\n":
                assert process.poll() is None, (folder / f"engine-{number}.log").read_text(encoding="utf-8")
            yield process
        finally:
            process.kill()
            process.communicate()


def send(process: subprocess.Popen[str], id_: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{id_}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "answered\n"


@pytest.fixture(params=["sqlite", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A store, and how many engines may share it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/live.db", 1
        return
    harness = PostgresHarness(request.getfixturevalue("postgres_url"))
    yield f"{harness.url}&ownership=shared", 2
    asyncio.run(harness.discard())


def test_a_rehearsal_beside_live_engines_disturbs_none(shop: Path, live: tuple[str, int]) -> None:
    """Engines answer all the time, and while they are idle, the rehearsal changes nothing in the store."""
    url, number = live
    with ExitStack() as stack:
        engines = [stack.enter_context(engine(shop, url, each)) for each in range(number)]
        for each in range(6):
            send(engines[each % number], f"c{each}")
        before, files = image_of(url), files_of(url)
        idle = rehearsing(shop, url)
        assert (idle.wait(), image_of(url), files_of(url)) == (ExitCode.DONE, before, files)
        at_work, sent = rehearsing(shop, url), 0
        while at_work.poll() is None:
            send(engines[sent % number], f"d{sent % 50}")
            sent += 1
        assert at_work.returncode == ExitCode.DONE
        assert sent > 10
        assert [each.poll() for each in engines] == [None] * number
        counted = {address.id: one.event_count for address, (one, _) in image_of(url).instances.items()}
        assert sum(count for id_, count in counted.items() if id_.startswith("d")) == sent
    for each in range(number):
        logged = (shop / f"engine-{each}.log").read_text(encoding="utf-8").splitlines()
        assert [line for line in logged if not line.startswith("slow commit")] == []  # of a busy disk


def rehearsing(folder: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "perdure", "rehearse", "billing_jobs:app", "--against", "billing_jobs:app"]
    # The hour of the history is repeated, and the engines answer hundreds of requests in it.
    command += ["--against-directory", "../today", "--store", url, "--for", "6 hours", "--replay", "7 days"]
    return subprocess.Popen(command, cwd=folder / "tomorrow", stdout=subprocess.DEVNULL, text=True)  # noqa: S603 - our own


def image_of(url: str) -> Image:
    with open_reader(url) as reader:
        return read_image(reader, history="1 day")


def files_of(url: str) -> dict[str, bytes]:
    """The files of a SQLite store. Its shared memory has the marks of its readers."""
    if not url.startswith("sqlite"):
        return {}
    path = Path(url.removeprefix("sqlite:///"))
    return {name: (path.parent / name).read_bytes() for name in (path.name, f"{path.name}-wal")}
