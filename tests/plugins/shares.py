"""Which tests a run leaves out: the expensive ones by default, and in CI those that another Python runs.

The tests of `EXPENSIVE` are sweeps of crashes, kills of processes, mutants, browsers. A plain `pytest` leaves them out,
and drawn histories, which are long, and runs every behaviour once, on each store; one that names files, a share or
another profile than `fixed` leaves out none: `pytest --hypothesis-profile=ci` runs all.

The results of `SHARED_OUT`, which are these and all others but those of values, codecs, programs and pages, depend
little on the version of Python. With `PERDURE_SHARE=0/2`, the first share of two, CI runs each of them on one of its
Pythons, chosen by the name of the test, and on the next one after the next commit; it runs all other tests on all
Pythons. Of `TURNED` it runs a fifth: faults and files, other programs, drawn histories, and families whose cases differ
in one parameter. `PERDURE_TURN`, the number of commits, says which one. So five runs of CI leave out no test.
"""

import os
from typing import Any, Self
from zlib import crc32

import attrs
import pytest
from hypothesis import settings

VARIABLE = "PERDURE_SHARE"
TURN = "PERDURE_TURN"
TURNS = 5
LEAVES_OUT = "leaves_out_expensive"

_DISK = (  # files, SQL and kills of processes
    "property_tests/durability/",
    "property_tests/stores/",
    "property_tests/versions/",
    "tests/examples/test_shop_processes.py",
    "tests/stores/test_conformance_grouped.py",
    "tests/stores/test_conformance_kills.py",
    "tests/stores/test_encryption.py",
    "tests/stores/test_guide.py",
    "tests/stores/test_sqlite_crash.py",
    "tests/stores/test_sqlite_killer.py",
    "tests/stores/test_sqlite_suspect.py",
    "tests/stores/test_sqlite_suspect_state.py",
    "tests/telemetry/test_tracker_kills.py",
)
_POSTGRES = (
    "property_tests/sharing/",
    "tests/cli/test_postgres_tools.py",
    "tests/project/test_deploy_web_page.py",
    "tests/project/test_scaling_page.py",
    "tests/stores/test_left.py",
    "tests/stores/test_postgres_",
)
SWEEPS = (
    "property_tests/behaviour/test_cancel_sweep.py",
    "property_tests/behaviour/test_crash_sweep.py",
    "property_tests/behaviour/test_doubt.py",
    "property_tests/behaviour/test_weak_spots.py",
)
"""Hundreds of cases that differ in the instant of one fault."""
_LONG = (
    "property_tests/behaviour/test_limits.py",
    "property_tests/behaviour/test_suspect_code.py",
    "tests/behaviour/test_long_run.py",
    "tests/telemetry/test_prometheus_counting.py",
)
_PROGRAMS = (  # other processes do the work: Chromium, Prometheus, a pytest in a pytest, a command in a second process
    "tests/cli/test_backup.py",
    "tests/cli/test_damaged.py",
    "tests/cli/test_demo.py",
    "tests/cli/test_run",  # the demo of the README starts workers on all Pythons
    "tests/cli/test_serve.py",
    "tests/cli/test_standby.py",
    "tests/dashboard/test_browser.py",
    "tests/dashboard/test_browser_members.py",
    "tests/telemetry/test_prometheus_server.py",
    "tests/testing/test_coverage.py",
    "tests/testing/test_pasted_lines.py",
    "tests/testing/test_plugin.py",
)
_WHOLE = (  # one process makes the results of all tests of the file
    "docs/tutorial/8-a-counterexample.md",
    "tests/behaviour/test_exceptions.py",
    "tests/test_typing.py",
)
_MUTANTS = "property_tests/mutants/test_planted_mutants.py::test_a_mutant_is_killed"  # they take turns of their own
_FAMILIES = (  # a behaviour for each case, and one cause for most failures
    "property_tests/kinds/test_pool_pairs.py",
    "property_tests/workflow/test_workflow_feature_pairs.py",
    "tests/behaviour/test_exceptions.py",
    "tests/dashboard/test_rehearsal.py",
    "tests/rehearsal/",
)
_DRAWN = (  # histories of drawn requests, whose examples are the same in each run
    "property_tests/behaviour/",
    "property_tests/engine/",
    "property_tests/kinds/",
    "property_tests/testing/",
    "property_tests/values/test_cron_laws.py",
    "property_tests/workflow/",
    "tests/testing/test_job_machine.py",
    "tests/testing/test_machine_laws.py",
)
EXPENSIVE = (*_DISK, *_POSTGRES, *SWEEPS, *_LONG, _MUTANTS, *_PROGRAMS, *_WHOLE)
"""The beginnings of the names of tests that take long: kills, sweeps, other programs."""
LEFT_OUT = (*EXPENSIVE, *(each for each in _DRAWN if each.startswith("property_tests/")))
"""The beginnings of the names of tests that a plain run leaves out."""
TURNED = (*_DISK, *_POSTGRES, *SWEEPS, *_LONG, *_PROGRAMS, *_FAMILIES, *_DRAWN)
"""The beginnings of the names of tests of which a run of CI takes a fifth."""
SHARED_OUT = (
    *EXPENSIVE,
    "property_tests/",
    "tests/behaviour/",
    "tests/cli/",
    "tests/costs/",
    "tests/dashboard/",
    "tests/golden/",
    "tests/kinds/",
    "tests/limits/",
    "tests/program/test_outcomes.py",
    "tests/project/",
    "tests/rehearsal/",
    "tests/remote/",
    "tests/server/",
    "tests/stores/",
    "tests/telemetry/",
    "tests/testing/",
    "tests/workflow/",
)
"""The beginnings of the names of tests that run on one Python."""


@attrs.frozen
class Share:
    """One share of the tests of `SHARED_OUT`.

    Attributes:
        number: which, from 0 on.
        of: how many there are.
        turn: which fifth of the tests of `TURNED`, modulo five. None for all of them.
    """

    number: int
    of: int
    turn: int | None = None

    @classmethod
    def from_text(cls, text: str, turn: str | None = None) -> Self:
        """Read ``0/2``, and the turn if there is one.

        Raises:
            pytest.UsageError: the text is no share.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise pytest.UsageError(f"{VARIABLE}: expected a share such as 0/2 or 1/2; got {text!r}")
        if turn is not None and not turn.isdecimal():
            raise pytest.UsageError(f"{TURN}: expected a number such as 7; got {turn!r}")
        return cls(int(number), int(of), None if turn is None else int(turn))

    def takes(self, test: str) -> bool:
        """Say whether a run with this share runs a test."""
        name = test.partition("::")[0] if test.startswith(_WHOLE) else test
        place = crc32(name.encode())
        if self.turn is not None and test.startswith(TURNED) and place // self.of % TURNS != self.turn % TURNS:
            return False
        return not test.startswith(SHARED_OUT) or place % self.of == self.number


def leaves_out_expensive(config: pytest.Config) -> bool:
    """Return whether this is a plain run of all tests. A process of pytest-xdist asks the one that started it."""
    told: dict[str, bool] | None = getattr(config, "workerinput", None)
    if told is not None:
        return told[LEAVES_OUT]
    all_tests = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return all_tests and VARIABLE not in os.environ and settings.get_current_profile_name() == "fixed"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # an object of pytest-xdist, which may not be installed
    """Tell a new process of pytest-xdist: it sees arguments, and not whether they were given."""
    node.workerinput[LEAVES_OUT] = leaves_out_expensive(node.config)


def pytest_report_header(config: pytest.Config) -> str | None:
    if leaves_out_expensive(config):
        return (
            "sweeps, kills, mutants, browsers and long histories are left out: --hypothesis-profile=ci runs all tests"
        )
    text = os.environ.get(VARIABLE)
    return text and f"share {text} of the tests that run on one Python"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    text = os.environ.get(VARIABLE)
    if leaves_out_expensive(config):
        left = [item for item in items if item.nodeid.startswith(LEFT_OUT)]
    elif text is not None:
        share = Share.from_text(text, os.environ.get(TURN))
        left = [item for item in items if not share.takes(item.nodeid)]
    else:
        return
    config.hook.pytest_deselected(items=left)
    out = set(left)
    items[:] = [item for item in items if item not in out]
