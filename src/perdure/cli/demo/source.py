"""The source of the demo's events: a file of the user, or the one that ships with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import attrs

from perdure.cli.usage_error import UsageError
from perdure.examples.incoming import Incoming, Malformed, read_incoming

SHIPPED = "events.jsonl"


@attrs.frozen
class Source:
    """Events, and invalid lines.

    Attributes:
        name: the file's name in messages.
        events: in the order of the file.
        malformed: the lines to skip.
    """

    name: str
    events: tuple[Incoming, ...]
    malformed: tuple[Malformed, ...]


def read_source(path: Path | None) -> Source:
    """Read a file of events; None: the one that ships with the package.

    Raises:
        UsageError: it cannot be read, or contains no event.
    """
    if path is None:
        with as_file(files("perdure.examples") / SHIPPED) as shipped:
            return _read(shipped, "the file that ships with perdure")
    return _read(path, str(path))


def _read(path: Path, name: str) -> Source:
    try:
        with path.open("rb") as file:
            found = tuple(read_incoming(file))
    except OSError as error:
        raise UsageError(f"--events {name} cannot be read: {error.strerror or error}") from error
    malformed = tuple(each for each in found if isinstance(each, Malformed))
    events = tuple(each for each in found if not isinstance(each, Malformed))
    if not events:
        first = f"; line {malformed[0].line}: {malformed[0].problem}" if malformed else ""
        raise UsageError(f"--events {name} contains no event{first}; `perdure demo --help` shows the format")
    return Source(name, events, malformed)
