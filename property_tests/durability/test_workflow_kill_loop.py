"""``docs/guarantees.md``: workflows of real processes that are killed end right, and repeat only steps in progress.

The long form is a script: ``python property_tests/durability/workflow_kill_loop.py``.
"""

from pathlib import Path

from hypothesis import settings
from workflow_kill_loop import run

NIGHTLY = settings.get_current_profile_name() == "nightly"


def test_workflows_survive_kills(tmp_path: Path) -> None:
    rounds, workflows = (60, 300) if NIGHTLY else (4, 30)
    verdict = run(tmp_path, rounds=rounds, workflows=workflows)
    assert (verdict.missing, verdict.surplus) == (0, 0)
    assert verdict.repeated <= verdict.kills * workflows
