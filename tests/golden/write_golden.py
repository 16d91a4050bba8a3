"""Write a golden file: ``python tests/golden/write_golden.py [schema|kinds|waiting|kept]``, in the repository's folder.

Only after a change of a stored format, and never over a file that was released: users have such rows.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
TESTS = HERE.parent
MARKS = ("application_id", "user_version")


def played(folder: Path) -> Path:
    """Play the scene, and return the file that it leaves."""
    from golden_scene import play_scene  # noqa: PLC0415 - found once the path is set
    from world import play  # noqa: PLC0415

    play("sqlite", folder, play_scene)
    return folder / "jobs.db"


def played_kinds(folder: Path) -> Path:
    """Play the scene of the later kinds, and return the file that it leaves."""
    from later_kinds import write_scene  # noqa: PLC0415 - as above

    write_scene(folder / "jobs.db")
    return folder / "jobs.db"


def played_waiting(folder: Path) -> Path:
    """Play the scene of what waits in topics, schedules and queues, and return the file that it leaves."""
    from waiting_kinds import write_waiting  # noqa: PLC0415 - as above

    write_waiting(folder / "jobs.db")
    return folder / "jobs.db"


def played_kept(folder: Path) -> Path:
    """Play the scene of events that jobs keep longer than the log, and return the file that it leaves."""
    from kept_scene import write_kept  # noqa: PLC0415 - as above

    write_kept(folder / "jobs.db")
    return folder / "jobs.db"


def dumped(path: Path) -> str:
    """Return a file as SQL text."""
    with closing(sqlite3.connect(path)) as file:
        marks = [f"PRAGMA {name} = {file.execute(f'PRAGMA {name}').fetchone()[0]};" for name in MARKS]
        text = "\n".join([*marks, *file.iterdump(), ""])
    return text.replace(f"{TESTS.parent}/", "")  # tracebacks name files


def main() -> None:
    sys.path[:0] = [
        str(HERE),
        str(TESTS / "behaviour"),
        str(TESTS / "kinds"),
        str(TESTS / "stores"),
        str(TESTS / "plugins"),
    ]
    scenes = {"schema": played, "kinds": played_kinds, "waiting": played_waiting, "kept": played_kept}
    scene = sys.argv[1] if len(sys.argv) > 1 else "schema"
    with TemporaryDirectory() as folder:
        text = dumped(scenes[scene](Path(folder)))
    version = text.partition("user_version = ")[2].partition(";")[0]
    golden = HERE / f"{scene}_{version}.sql"
    golden.write_text(text, encoding="utf-8")
    print(f"{golden}: {golden.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
