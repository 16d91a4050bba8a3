"""CI leaves out no test: each runs on one of its Pythons at least, and on another one after the next commit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shares import LEFT_OUT, SHARED_OUT, TURNED, TURNS, Share

ROOT = Path(__file__).parents[2]
TEXTS = st.text(max_size=20)


@given(st.sampled_from(SHARED_OUT), TEXTS, st.integers(1, 4))
def test_a_test_that_is_shared_out_runs_in_one_share(beginning: str, rest: str, of: int) -> None:
    assert [Share(number, of).takes(beginning + rest) for number in range(of)].count(True) == 1


@given(st.sampled_from(TURNED), TEXTS, st.integers(1, 4), st.integers(0, 9_999))
def test_a_test_that_takes_turns_runs_in_one_share_of_one_turn(beginning: str, rest: str, of: int, turn: int) -> None:
    shares = [Share(number, of, turn + later) for number in range(of) for later in range(TURNS)]
    assert [share.takes(beginning + rest) for share in shares].count(True) == 1


def test_a_turn_changes_nothing_else() -> None:
    others = [each for each in LEFT_OUT if not each.startswith(TURNED)]
    for turn in range(TURNS):
        assert [Share(0, 2, turn).takes(each) for each in others] == [Share(0, 2).takes(each) for each in others]
    assert 'PERDURE_TURN="$commits"' in (ROOT / ".ci" / "run").read_text()


@given(TEXTS, st.integers(1, 4))
def test_any_other_test_runs_in_all_shares(rest: str, of: int) -> None:
    assert all(Share(number, of).takes(f"tests/values/test_{rest}") for number in range(of))


@given(st.integers(0, 9_999), st.integers(1, 4))
def test_each_python_of_ci_has_another_share_and_another_one_after_a_commit(commits: int, pythons: int) -> None:
    def shares(commits: int) -> list[int]:  # the expression of `.ci/run`
        return [(place + commits) % pythons for place in range(pythons)]

    assert (
        'PERDURE_SHARE="$(((place + commits) % ${#PYTHONS[@]}))/${#PYTHONS[@]}"' in (ROOT / ".ci" / "run").read_text()
    )
    assert sorted(shares(commits)) == list(range(pythons))
    assert pythons == 1 or all(now != then for now, then in zip(shares(commits), shares(commits + 1), strict=True))


@pytest.mark.parametrize("beginning", SHARED_OUT)
def test_each_beginning_is_that_of_tests(beginning: str) -> None:
    path, _, function = beginning.partition("::")
    files = [file for file in ROOT.glob(f"{path}*") if file.is_dir() or file.suffix in {".py", ".md"}]
    assert files
    assert not function or all(f"def {function}(" in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("text", ["", "2", "2/2", "0/0", "-1/2", "a/b"])
def test_a_text_that_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="expected a share"):
        Share.from_text(text)


def test_a_turn_that_is_no_number_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="expected a number"):
        Share.from_text("0/2", "a")


PROJECT = {
    "pytest.ini": "[pytest]\ntestpaths = tests\npythonpath = plugins\n",
    "tests/behaviour/test_long_run.py": "def test_a_sweep():\n    pass\n",
    "tests/behaviour/test_one.py": "def test_one():\n    pass\n",
}
ALL = ("test_a_sweep", "test_one")


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ((), {}, ("test_one",)),
        (("-n2",), {}, ("test_one",)),
        (("--hypothesis-profile=ci",), {}, ALL),
        (("-n2", "--hypothesis-profile=ci"), {}, ALL),
        ((), {"PERDURE_SHARE": "0/1"}, ALL),
        ((), {"CI": "true"}, ALL),
        (("tests/behaviour",), {}, ALL),
        (("-n2", "tests/behaviour"), {}, ALL),
    ],
)
def test_a_plain_run_leaves_out_expensive_tests(
    tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], expected: tuple[str, ...]
) -> None:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    plugins = ("-pxdist", "-p_hypothesis_pytestplugin", "-phypothesis_profiles", "-pshares", "-pno:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-v", *plugins, *arguments]
    left_out = ("PYTEST_", "PERDURE_", "CI", "GITHUB_", "TF_BUILD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    environment |= {"PYTHONPATH": f"{ROOT / 'tests' / 'plugins'}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
    run = subprocess.run(  # noqa: S603 - a pytest of our own
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert f"{len(expected)} passed" in run.stdout, run.stdout + run.stderr
    assert ("test_a_sweep" in run.stdout) == ("test_a_sweep" in expected)
