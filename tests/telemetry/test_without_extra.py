"""Without its extra, a sink says which one is missing; importing its module loads nothing of the extra."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import perdure.telemetry.opentelemetry
import perdure.telemetry.prometheus
import perdure.remote, perdure.app
print([name for name in sys.modules if name.split(".")[0] in {"opentelemetry", "prometheus_client"}])
"""

MISSING = """
import asyncio, sys
sys.modules["opentelemetry"] = sys.modules["prometheus_client"] = None
from perdure import attempt, App
from perdure.telemetry.opentelemetry import current_trace, opentelemetry
from perdure.telemetry.prometheus import prometheus
from perdure.values.errors import DefinitionError

async def main(sink):
    async with App(None).with_sinks(sink).open("memory://"):
        pass

openings = (lambda sink=sink: asyncio.run(main(sink)) for sink in (opentelemetry(), prometheus()))
for attempt in (current_trace, *openings):
    try:
        attempt()
    except DefinitionError as error:
        print(error)
"""


def output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout  # noqa: S603


def test_importing_the_sinks_loads_nothing_of_their_extras() -> None:
    assert output(LOADED) == "[]\n"


def test_the_errors_name_the_missing_extra() -> None:
    lines = output(MISSING).splitlines()
    extras = ["opentelemetry", "opentelemetry", "prometheus"]
    assert [f"pip install 'perdure[{extra}]'" in line for extra, line in zip(extras, lines, strict=True)] == [True] * 3
