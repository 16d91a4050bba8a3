"""``perdure backup --to`` beside an engine, and ``perdure restore``: kills lose nothing that was shipped."""

import signal
import socket
import sqlite3
import time
from contextlib import closing

import pytest

from perdure.cli.maintenance import backup, backups, restore
from perdure.cli.process import ExitCode, UsageError
from perdure.stores.sqlite.schema import prepare

SHOP = """
from perdure import Continuous, App, every

count = lambda ctx: ctx.state.bind(lambda n: ctx.set_state(n + 1))
ticker = Continuous("ticker", state=int, schedule=every("20 ms"), execute=count)
app = App(None).with_jobs(ticker).ensuring(ticker, "a", lambda job: job.start(0))
"""
RUN = ("run", "shop:app", "--store", "sqlite:///jobs.db")


def count(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(database.execute("SELECT state FROM instances").fetchone()[0])


def grown(path, least):
    """Wait until the engine has made some more runs."""
    while count(path) < least:
        time.sleep(0.02)  # of a process of its own
    return count(path)


def test_engine_and_sidecar_are_killed_and_nothing_shipped_is_lost(start, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    url = (tmp_path / "bucket").as_uri()
    engine = start(*RUN)
    engine.line("serving")
    sidecar = start("backup", "--store", "sqlite:///jobs.db", "--to", url, "--every", "50ms")
    sidecar.line("shipped")
    seen = grown(tmp_path / "jobs.db", 30)
    engine.signal(signal.SIGKILL)
    engine.end()
    again = start(*RUN)
    again.line("serving")
    seen = grown(tmp_path / "jobs.db", seen + 10)
    sidecar.signal(signal.SIGTERM)
    assert sidecar.end() == 0, sidecar.story
    assert restore(from_=url, store=f"sqlite:///{tmp_path / 'restored.db'}") == ExitCode.DONE
    assert count(tmp_path / "restored.db") >= seen
    killed = start("backup", "--store", "sqlite:///jobs.db", "--to", url, "--every", "50ms")
    killed.line("shipped")
    least = count(tmp_path / "restored.db")
    killed.signal(signal.SIGKILL)
    killed.end()
    again.signal(signal.SIGTERM)
    assert again.end() == 0, again.story  # not with OwnershipLost
    assert restore(from_=url, store=f"sqlite:///{tmp_path / 'later.db'}") == ExitCode.DONE
    assert count(tmp_path / "later.db") >= least


def shipped(tmp_path):
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        prepare(connection.cursor(), store="s", synchronous="NORMAL")
    url = (tmp_path / "bucket").as_uri()
    assert backup(store=f"sqlite:///{tmp_path / 'jobs.db'}", to=url) == ExitCode.DONE
    return url


@pytest.fixture(autouse=True)
def handlers():
    """The commands of this file set handlers in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_one_shipment_is_listed_and_its_age_is_judged(tmp_path, capsys):
    url = shipped(tmp_path)
    assert backups(of=url, max_age="1h") == ExitCode.DONE
    assert "OBJECTS" in capsys.readouterr().out
    assert backups(of=url, json=True) == ExitCode.DONE
    assert '"objects":1' in capsys.readouterr().out.replace(" ", "")
    assert backups(of=(tmp_path / "empty").as_uri(), max_age="1h") == ExitCode.FAILED


def test_a_moment_is_restored(tmp_path):
    url = shipped(tmp_path)
    with pytest.raises(UsageError, match="has no complete snapshot of that time"):
        restore(from_=url, store=f"sqlite:///{tmp_path / 'r.db'}", at="2000-01-01T00:00:00Z")
    with pytest.raises(UsageError, match="expected an instant such as"):
        restore(from_=url, store=f"sqlite:///{tmp_path / 'r.db'}", at="noon")
    assert restore(from_=url, store=f"sqlite:///{tmp_path / 'r.db'}", at="2999-01-01T00:00:00Z") == ExitCode.DONE


def test_an_endpoint_that_does_not_answer(start, tmp_path):
    shipped(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and no server listens
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        env = {"AWS_ENDPOINT": address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r"}
        runs = [
            start("backup", "--store", "sqlite:///jobs.db", "--to", "s3://bucket/shop", **env),
            start("restore", "--from", "s3://bucket/shop", "--store", "sqlite:///r.db", **env),
            start("backups", "--of", "s3://bucket/shop", **env),
        ]
        assert [run.end() for run in runs] == [1, 1, 1], [run.story for run in runs]
    assert "s3://bucket/shop: " in runs[0].error


def test_impossible_requests_are_named(tmp_path):
    url = shipped(tmp_path)
    with pytest.raises(UsageError, match="pass either --output"):
        backup(store="sqlite:///jobs.db")
    with pytest.raises(UsageError, match="a file of that name exists"):
        restore(from_=url, store=f"sqlite:///{tmp_path / 'jobs.db'}")
    with pytest.raises(UsageError, match="URL of a backup"):
        backups(of="ftp://x")
    with pytest.raises(UsageError, match="--every"):
        backup(store=f"sqlite:///{tmp_path / 'jobs.db'}", to=url, every="often")
