"""The unit that the page on systemd shows: it starts our command, restarts as the exit codes say, and is valid."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclopts import App

from perdure import Limits
from perdure.cli.commands import COMMANDS
from perdure.cli.process import ExitCode
from perdure.values.times import duration_ms

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "deploy-with-systemd.md").read_text(encoding="utf-8")
UNIT, STANDBY = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def service(text: str) -> dict[str, str]:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(text)
    return dict(parsed["Service"])


def seconds(text: str) -> float:
    return duration_ms(text, what="seconds") / 1_000


def test_the_unit_leaves_time_to_stop_and_restarts_as_the_exit_codes_say() -> None:
    unit = service(UNIT)
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
    assert seconds(unit["TimeoutStopSec"]) > Limits().shutdown_timeout_ms / 1_000
    assert unit["Restart"] == "on-failure"
    assert unit["RestartPreventExitStatus"] == str(int(ExitCode.MISCONFIGURED))
    assert f"sqlite:////var/lib/{unit['StateDirectory']}/" in UNIT
    assert unit["ProtectSystem"] == "strict"


@pytest.mark.parametrize("text", [UNIT, f"[Service]\n{STANDBY}"], ids=["unit", "standby"])
def test_the_unit_starts_a_command_that_exists(text: str) -> None:
    command, name, *arguments = shlex.split(service(text)["ExecStart"])
    assert Path(command).name == "perdure"
    parser = App(default_command=COMMANDS[name].load())
    function, bound, _ = parser.parse_args([*arguments, "--store", "sqlite:///jobs.db"], exit_on_error=False)
    assert (function.__name__, bound.args) == (name, ("shop.jobs:app",))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "shop-jobs.service"
    path.write_text(UNIT.replace("/opt/shop/.venv/bin/perdure", "/usr/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if path.name in line]) == (0, [])
