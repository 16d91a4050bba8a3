"""Jobs on Restate survive kills of the worker, of the server and of one of three nodes, and repeats are marked.

The long form is a script: ``python property_tests/durability/restate_kill_loop.py``.
"""

import asyncio
from pathlib import Path

import pytest
from hypothesis import settings
from restate_kill_loop import Verdict, killed, server_program

NIGHTLY = settings.get_current_profile_name() == "nightly"

needs_server = pytest.mark.skipif(
    server_program() is None, reason="no restate-server: set PERDURE_RESTATE_SERVER, or put it on PATH"
)


def check(verdict: Verdict) -> None:
    assert (verdict.wrong, verdict.unmarked, verdict.failed) == ((), (), ()), verdict
    assert verdict.acknowledged > 0


@needs_server
def test_turns_messages_and_workflows_survive_kills(tmp_path: Path) -> None:
    seconds, callers = (60, 12) if NIGHTLY else (8, 6)
    verdict = asyncio.run(killed(tmp_path, seconds=seconds, nodes=1, seed=1, callers=callers))
    check(verdict)
    assert verdict.kills


@needs_server
@pytest.mark.skipif(not NIGHTLY, reason="three servers take a minute")
def test_they_survive_kills_of_one_of_three_nodes(tmp_path: Path) -> None:
    check(asyncio.run(killed(tmp_path, seconds=60, nodes=3, seed=1, callers=8)))
