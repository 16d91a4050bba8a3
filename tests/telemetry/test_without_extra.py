"""Without the extra, the sink says which one is missing; importing its module loads nothing of OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import perdure.telemetry.opentelemetry
import perdure.remote, perdure.app
print([name for name in sys.modules if name.split(".")[0] == "opentelemetry"])
"""

MISSING = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from perdure import App
from perdure.telemetry.opentelemetry import current_trace, opentelemetry
from perdure.values.errors import DefinitionError

async def main():
    async with App(None).with_sinks(opentelemetry()).open("memory://"):
        pass

for attempt in (current_trace, lambda: asyncio.run(main())):
    try:
        attempt()
    except DefinitionError as error:
        print(error)
"""


def output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout  # noqa: S603


def test_importing_the_sink_loads_nothing_of_opentelemetry() -> None:
    assert output(LOADED) == "[]\n"


def test_the_errors_name_the_missing_extra() -> None:
    lines = output(MISSING).splitlines()
    assert len(lines) == 2
    assert all("pip install 'perdure[opentelemetry]'" in line for line in lines), lines
