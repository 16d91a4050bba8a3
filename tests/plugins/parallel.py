"""A run of all tests uses all cores: a plain `pytest` starts a process of pytest-xdist for each.

A run of named files, with `--pdb`, or without pytest-xdist takes place in one process. An option `-n` decides itself:
`-n 0` for one process, `-n 4` for four, also in the environment variable `PYTEST_ADDOPTS`.
"""

import os
from collections.abc import Generator

import pytest

MOST = 8  # each process may start a PostgreSQL server and a browser of its own


@pytest.hookimpl(wrapper=True)  # before that of pytest-xdist, which reads the options
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of these processes, or a pytest that a test runs: it starts no others
        return (yield)
    options = config.option
    all_tests = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    undecided = getattr(options, "numprocesses", 0) is None and options.dist == "no"
    if all_tests and undecided and not options.collectonly:
        options.numprocesses, options.dist = "auto", "worksteal"  # 5 % of the tests take most of the time
        options.maxprocesses = options.maxprocesses or MOST
    return (yield)
