"""``manage.py perdure``: the ``perdure`` commands with the project's settings, and the outbox."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from perdure.integrations.django.outbox import send_waiting


class Command(BaseCommand):
    """Run a ``perdure`` command in this project, such as ``health`` or ``run shop.jobs:app``."""

    help = (
        "Run a command of perdure with the PERDURE_... settings of this project (run, health, list, ...), or 'outbox': "
        "send the requests that wait in the outbox."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the ``perdure`` command and its arguments unchanged."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="outbox, or a command of perdure")

    def handle(self, *_: object, **options: object) -> None:
        """Run the command.

        Raises:
            CommandError: the engine did not answer while the outbox was sent, or the program is not installed.
            SystemExit: with the ``perdure`` command's exit code.
        """
        arguments = cast("list[str]", options["arguments"])
        if arguments == ["outbox"]:
            self._send_outbox()
            return
        program = _program()
        for name, value in _variables().items():
            os.environ.setdefault(name, value)
        raise SystemExit(program(arguments))

    def _send_outbox(self) -> None:
        result = send_waiting()
        self.stdout.write(f"sent {result.sent}, refused {result.refused}")
        if result.stopped_by is not None:
            raise CommandError(f"stopped: {result.stopped_by}")


def _program() -> Callable[[Sequence[str]], int]:
    """Load the program ``perdure`` as its package installs it: the command line is above the integrations."""
    for program in entry_points(group="console_scripts", name="perdure"):
        main: Callable[[Sequence[str]], int] = program.load()
        return main
    raise CommandError("the program 'perdure' is not installed here: pip install 'perdure[cli]'")


def _variables() -> dict[str, str]:
    """Return the environment variables that stand for the project's settings."""
    names = [name for name in dir(settings) if name.startswith("PERDURE_")]
    found = {name: value for name in names if isinstance(value := getattr(settings, name), str)}
    found.pop("PERDURE_URL", None)
    given: str | list[str] | None = getattr(settings, "PERDURE_URL", None)
    if given and not {"PERDURE_SERVER", "PERDURE_STORE"} & (found.keys() | os.environ.keys()):
        url = given if isinstance(given, str) else ",".join(given)
        found["PERDURE_STORE" if url.startswith("sqlite:") else "PERDURE_SERVER"] = url
    return found
