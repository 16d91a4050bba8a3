"""`perdure bench`: it measures, and leaves nothing behind."""

from pathlib import Path

import pytest
from operated import json_of

from perdure.cli.commands import run_command

Out = pytest.CaptureFixture[str]


def test_a_measurement_leaves_nothing_behind(tmp_path: Path, capsys: Out) -> None:
    assert run_command(["bench", "--at", str(tmp_path), "--seconds", "0.05", "--json"]) == 0
    measured = json_of(capsys.readouterr().out)
    assert [each["subject"] for each in measured] == ["disk", "1 client", "64 clients"]
    assert all(each["per_second"] > 0 and each["median_ms"] <= each["p99_ms"] for each in measured)
    # The mean of one caller is not far from the slowest: the time is that of the requests.
    assert all(each["per_second"] * each["p99_ms"] > 1 for each in measured)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--seconds", "0"], ["--seconds", "61"], ["--at", "/dev/null"]])
def test_a_wrong_option_measures_nothing(tmp_path: Path, capsys: Out, options: list[str]) -> None:
    given = options if "--at" in options else ["--at", str(tmp_path), *options]
    assert run_command(["bench", *given]) == 2
    assert options[0] in capsys.readouterr().err
