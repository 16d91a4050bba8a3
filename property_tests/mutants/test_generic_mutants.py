"""The tests find most mutants of a random sample: with `--hypothesis-profile=nightly`, some of each package."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from mutant import ROOT
from search import PACKAGES, results

SEARCH = Path(__file__).with_name("search.py")
OF_EACH = 10
MINUTES = 120
LEAST_KILLED = 0.6  # of all, equivalent ones included: a collapse is seen, and the next release's table shows the rest


@pytest.mark.skipif(settings.get_current_profile_name() != "nightly", reason="hours: --hypothesis-profile=nightly")
def test_most_generic_mutants_of_each_package_are_killed(tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="of the dependency group `mutation`")
    options = ["--folder", str(tmp_path), "--mutants", str(OF_EACH), "--minutes", str(MINUTES)]
    run = subprocess.run([sys.executable, str(SEARCH), *options], cwd=ROOT, check=False)  # noqa: S603 - our own script
    assert run.returncode == 0
    found = [each[-1] for each in results(tmp_path).values()]
    fates = {package: [each["fate"] for each in found if each["package"] == package] for package in PACKAGES}
    assert all(fates.values()), fates
    judged = [fate for each in fates.values() for fate in each if fate != "unknown"]
    assert judged.count("killed") >= LEAST_KILLED * len(judged), fates
