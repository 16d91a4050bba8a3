"""The properties of worlds and clusters hold without the debug mode, too.

With it, each run uses the general interpreter; without it, the shorter one of most runs in production. A nightly run
repeats the modules that open a world or a cluster with ``PERDURE_DEBUG=0``, each in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

NIGHTLY = settings.get_current_profile_name() == "nightly"
PROPERTIES = Path(__file__).parents[1]
OPENS = ("World(", "Cluster(", "JobMachine", "from world import")
REAL = "test_chaos"  # its engines are processes, which run without the debug mode


def opens_a_world(module: Path) -> bool:
    """Whether a module opens a world or a cluster, itself or through the modules beside it."""
    text = module.read_text(encoding="utf-8")
    beside = [path for path in module.parent.glob("*.py") if f"from {path.stem} import" in text]
    return any(word in path.read_text(encoding="utf-8") for path in (module, *beside) for word in OPENS)


MODULES = [
    module.relative_to(PROPERTIES.parent).as_posix()
    for module in sorted(PROPERTIES.glob("*/test_*.py"))
    if opens_a_world(module) and module != Path(__file__) and module.stem != REAL
]


def test_the_modules_are_found() -> None:
    found = {Path(module).stem for module in MODULES}
    assert {"test_engine_machine", "test_crash_sweep", "test_crowd", "test_workflow_crashes"} <= found


@pytest.mark.skipif(not NIGHTLY, reason="it repeats whole modules: --hypothesis-profile=nightly")
@pytest.mark.parametrize("module", MODULES)
def test_a_module_holds_without_the_debug_mode(module: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=nightly"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # noqa: S603 - our own tests
        [*command, module],
        cwd=PROPERTIES.parent,
        env=environment | {"PERDURE_DEBUG": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
