"""The views of one store: the output of the commands, and the pages of the dashboard.

``python tests/golden/shown.py`` writes the files of ``tests/golden/shown`` again after a change that is intended: read
the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs

import attrs

HERE = Path(__file__).parent
TESTS = HERE.parent
FOLDER = HERE / "shown"

AT_REST = """
list --all
list --all --json
list --limit 3
list --limit 2 --after task:orders:2100-0003
list --job task:orders
list --job task:orders --where cents>1100 --where stage=pending --app shown_scene:app
list --kind pool --status parked
list --status paused
list --status queued
list --id-prefix 2100-000 --limit 2 --json
list --due-before 2100-01-01T13:00:00Z
list --job nonsense
list --job task:nonsense
show task:orders:2100-0001
show task:orders:2100-0001 --state
show task:orders:2100-0001 --app shown_scene:app
show task:orders:2100-0001 --app shown_scene:app --json
show task:orders:2100-0005
show task:parcels:xavier --traceback --app shown_scene:app
show continuous:exchange-rates:ecb --app shown_scene:app
show continuous:checks:xdns --app shown_scene:app
show debounce:digests:ada@example.com --app shown_scene:app
show debounce:digests:xenia@example.com --app shown_scene:app
show pool:mails:berlin --app shown_scene:app
show pool:mails:xanten --app shown_scene:app
show pool:mails:later --app shown_scene:app
show batch:campaigns:spring --app shown_scene:app
show workflow:trips:1 --app shown_scene:app
show workflow:trips:2 --app shown_scene:app
show workflow:trips:3 --app shown_scene:app
show workflow:trips:4 --app shown_scene:app
show workflow:trips:5 --app shown_scene:app --json
show workflow:trips:6 --app shown_scene:app --no-state
show workflow:trips:7 --app shown_scene:app
show task:orders:absent
show orders
history task:orders:2100-0003
history task:orders:2100-0003 --json
history task:parcels:xavier --limit 2
history workflow:trips:2
history pool:mails:xanten
history task:orders:absent
steps workflow:trips:2
steps workflow:trips:2 --app shown_scene:app
steps workflow:trips:2 --app shown_scene:app --json
steps workflow:trips:3 --app shown_scene:app
steps workflow:trips:5 --app shown_scene:app
steps workflow:trips:7 --app shown_scene:app
steps task:orders:2100-0001 --app shown_scene:app
dead-letters
dead-letters --json --payload
dead-letters --limit 1
left-messages
stats
stats --json
verify
verify --json
check shown_scene:app
check shown_scene:app --json
future task:orders:2100-0001 --app shown_scene:app --from 2100-01-01T12:25:00Z
future task:parcels:ada --app shown_scene:app --twice --from 2100-01-01T12:25:00Z --event '"tea"'
future task:parcels:ada --app shown_scene:app --from 2100-01-01T12:25:00Z --down post='4 hours'
future workflow:trips:3 --app shown_scene:app --from 2100-01-01T12:25:00Z --json
future task:orders:2100-0001 --app shown_scene:app --event nonsense
send task:orders:2100-0001 '{}'
debug workflow:trips:2 --app shown_scene:app < help; steps; back; locals; state; go 4; answer "fine"; test; quit
debug workflow:trips:7 --app shown_scene:app --at 1 < where; next; next; next; next
debug task:orders:2100-0003 --app shown_scene:app < help; steps; back; request {"type":"Paid","cents":1}; test
debug task:orders:2100-0003 --app shown_scene:app --at 99 < where
debug task:orders:absent --app shown_scene:app < where
capacity shown_scene:app --for '2 hours'
capacity shown_scene:app --for '2 hours' --json
histories shown_scene:app --output <folder>/histories.json
snapshot --output <folder>/few.json --each 1
snapshot --output <folder>/rows.json
copy sqlite:///<folder>/jobs.db sqlite:///<folder>/copied.db
copy sqlite:///<folder>/jobs.db sqlite:///<folder>/copied.db --compare
backup --output <folder>/backup.db
vacuum
"""

WITHOUT_STORE = ("copy",)

LIVE = """
jobs
jobs --json
counts
demand
members
limits
limits --json
set-limit carrier --concurrency 5 --rate 10/1m
limits
reset-limit carrier
set-limit nonsense --concurrency 5
health
pool pool:mails
list --status parked
list --job task:orders --where cents>1100 --json
show task:orders:2100-0002
show workflow:trips:5
steps workflow:trips:5
tail workflow:trips:2 words
tail workflow:trips:2 words --no-follow --json
tail workflow:trips:2 nothing --no-follow
dead-letters
published workflow:trips:3 tracking
published workflow:trips:3 nothing
explain task:orders:2100-0001 send '{"type":"Paid","cents":5000}'
explain task:orders:2100-0001 send '{"type":"Paid","cents":5}'
explain task:orders:2100-0001 pause --json
explain task:orders:2100-0001
explain workflow:trips:3 signal.approval '"yes"'
future task:orders:2100-0001
future task:orders:2100-0004 --event '{"type":"Paid","cents":5000}'
send task:orders:2100-0004 '{"type":"Paid","cents":1}'
send task:orders:2100-0004 '{"type":"Paid","cents":5000}' --key pay-4
send task:orders:2100-0004 '{"type":"Paid","cents":5000}' --key pay-4 --json
send task:orders:2100-0004 '{"type":"Paid"}'
send task:orders:2100-0004 nonsense
add debounce:digests:ada@example.com '"late"'
signal workflow:trips:3 nonsense 1
signal workflow:trips:3 approval '"yes"' --key approve
wait workflow:trips:3 --timeout '5 minutes'
show workflow:trips:3
complete workflow:trips:4/payment 900
wait workflow:trips:4 --timeout '5 minutes' --json
complete workflow:trips:4/payment 901 --json
update workflow:trips:5 rename '"name"' --key rename --wait '0 ms'
call workflow:trips:5 query.rest 2
call pool:mails:berlin outcome
call task:orders:2100-0001 nonsense
forget-key task:orders:2100-0001 order-1
forget-key task:orders:2100-0001 order-1
pause task:orders:2100-0001
pause task:orders:2100-0001
pause --job task:orders --status scheduled --dry-run
pause --job task:orders --status scheduled --yes
resume task:orders:2100-0001 task:orders:absent --json
hold pool:mails
pool pool:mails --json
release pool:mails
release continuous:checks
hold pool:nonsense
fork workflow:trips:1 --step post --into 1b
cancel workflow:trips:5 --reason 'no trip' --yes
clear debounce:digests:ada@example.com --yes
terminate task:orders:broken --reason gone --yes
terminate task:orders:broken --yes
terminate task:orders:2100-0007
show task:orders:broken
redrive nonsense
redrive 99
"""

PAGES = """
/
/instances
/instances?status=parked
/instances?job=task%3Aorders&where=cents%3E1100
/instances?id_prefix=2100&limit=2
/jobs
/jobs/task/orders
/jobs/workflow/trips
/jobs/pool/mails
/jobs/continuous/exchange-rates
/parked
/dead-letters
/jobs/task/orders/instances/2100-0001
/jobs/task/orders/instances/2100-0005
/jobs/task/parcels/instances/xavier
/jobs/debounce/digests/instances/ada@example.com
/jobs/continuous/checks/instances/xdns
/jobs/pool/mails/instances/xanten
/jobs/batch/campaigns/instances/spring
/jobs/workflow/trips/instances/2
/jobs/workflow/trips/instances/3
/jobs/workflow/trips/instances/5
/jobs/workflow/trips/instances/7
/jobs/workflow/trips/instances/1
/jobs/workflow/trips/instances/6
/jobs/workflow/boxes/instances/5-0
/jobs/pool/mails/instances/later
/jobs/task/orders/instances/absent
/jobs/task/orders/instances/2100-0003/debug
/jobs/task/orders/instances/2100-0003/debug?at=1
/jobs/task/orders/instances/2100-0003/debug?at=7
/jobs/workflow/trips/instances/2/debug?at=4
/jobs/task/parcels
/jobs/debounce/digests
/jobs/batch/campaigns
/rehearsal
/login
/nonsense
/jobs/continuous/checks/release
/jobs/pool/mails/hold
/jobs/task/orders/instances/2100-0001/request/send
/jobs/task/orders/instances/2100-0001/request/trigger
/jobs/task/orders/instances/2100-0001/request/terminate
/jobs/task/orders/instances/2100-0005/request/resume
/jobs/workflow/trips/instances/3/request/signal.approval
/jobs/workflow/trips/instances/5/request/cancel
/jobs/workflow/trips/instances/4/request/complete.payment
/jobs/workflow/trips/instances/2/fork?step=post
/jobs/task/orders/instances/2100-0001/request/nonsense
/jobs/task/orders/instances/2100-0001/explain < action=send&payload={"type":"Paid","cents":5000}
/jobs/task/orders/instances/2100-0001/explain < action=send&payload={"type":"Paid"}
/jobs/task/orders/instances/2100-0001/explain < action=alarm
/jobs/workflow/trips/instances/3/explain < action=signal.approval&payload="yes"
/jobs/task/orders/instances/2100-0004/future < action=send&event={"type":"Paid","cents":5000}
/jobs/workflow/trips/instances/3/future < action=
/jobs/task/orders/instances/2100-0001/future < duration=nonsense
/jobs/task/orders/instances/2100-0001/forget-key < key=order-1
/jobs/task/orders/instances/2100-0001/forget-key < key=order-1&confirmed=yes
/bulk < action=pause&address=task:orders:2100-0001&address=task:orders:2100-0002
/bulk < action=pause&address=task:orders:2100-0001&address=task:orders:absent&confirmed=yes
/bulk < action=terminate&address=task:orders:2100-0001
/bulk < action=nonsense&address=task:orders:2100-0001
/dead-letters/redrive < message=2
/dead-letters/bury < message=2
/dead-letters/bury < message=2&confirmed=yes
/jobs/pool/mails/hold < confirmed=yes
/jobs/pool/mails
"""

OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
"""The headers of a form that the dashboard's own page sends."""

_HIDDEN = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
    (r'(name="csrf" value=")[^"]*', r"\1<token>"),
    (r"\b[0-9a-f]{16}  equal", "<digest>  equal"),
    (r"(dashboard-|signature=)[0-9a-f]{32}", r"\1<key>"),
    (r'(href|src)="([^"]*\.(?:css|js))\?[^"]*"', r'\1="\2"'),
    (r"\b[0-9.]+ (?:KiB|MiB)\b", "<measured>"),
    (r'"traceback":"(?:[^"\\]|\\.)*"', '"traceback":"<traceback>"'),
    (r"Traceback \(most recent call last\):\n(?:  .*\n)+", "<traceback>\n"),
    (r"\bPython 3\.\d+\.\d+", "Python <version>"),
)


def lines_of(block: str) -> list[str]:
    """Split a list of commands or pages."""
    return [line for line in block.splitlines() if line]


def steady(text: str, folder: Path) -> str:
    """Replace everything that differs between two runs: ids of runs, tokens of forms, paths, measured sizes."""
    text = text.replace(str(folder), "<folder>").replace(f"{TESTS.parent}/", "")
    for pattern, shown in _HIDDEN:
        text = re.sub(pattern, shown, text)
    return text


def printed(command: str, target: Iterable[str], folder: Path) -> str:
    """Run a command in this process, and return its output as a terminal shows it, and the exit code."""
    from perdure.cli.main import main  # noqa: PLC0415 - the path is set first

    out, err = io.StringIO(), io.StringIO()
    words, _, lines = command.replace("<folder>", str(folder)).partition(" < ")
    arguments = [*shlex.split(words), *(() if words.startswith(WITHOUT_STORE) else target)]
    piped, sys.stdin = sys.stdin, io.StringIO(lines.replace("; ", "\n"))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        sys.stdin = piped
    said = "".join(f"! {line}\n" for line in err.getvalue().splitlines())
    return steady(f"$ perdure {command}\n{out.getvalue()}{said}= {code}\n", folder)


def at_rest(folder: Path) -> str:
    """Return the output of commands that read a store without an engine."""
    import shown_scene  # noqa: PLC0415 - the path is set first

    path = folder / "jobs.db"
    shown_scene.play(path)
    return "\n".join(printed(each, ["--store", f"sqlite:///{path}"], folder) for each in lines_of(AT_REST))


def live(folder: Path) -> str:
    """Return the output of commands that ask an engine, whose clock stands still."""
    import shown_scene  # noqa: PLC0415 - the path is set first
    from operated import serving  # noqa: PLC0415 - the path is set first

    path = folder / "jobs.db"
    with serving(path, shown_scene.app, runtime=standing_still(shown_scene.play(path))) as named:
        return "\n".join(printed(each, named["socket"], folder) for each in lines_of(LIVE))


def pages(folder: Path) -> str:
    """Return the pages of the dashboard of an engine whose clock stands still."""
    import shown_scene  # noqa: PLC0415 - the path is set first

    path = folder / "jobs.db"
    runtime = standing_still(shown_scene.play(path))
    return steady(asyncio.run(_visited(shown_scene.app, path, runtime)), folder)


async def _visited(app: Any, path: Path, runtime: Any) -> str:
    import httpx2  # noqa: PLC0415 - of the tests of the server

    from perdure.server.api import asgi_of  # noqa: PLC0415 - the path is set first

    shown = list[str]()
    async with app.open(f"sqlite:///{path}", runtime=runtime) as jobs:
        transport = httpx2.ASGITransport(asgi_of(jobs, dashboard=True))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            token = re.findall(r'name="csrf" value="([^"]*)"', (await http.get("/dashboard/instances")).text)[0]
            for line in lines_of(PAGES):
                page, _, form = line.partition(" < ")
                sent = {**parse_qs(form), "csrf": [token]}
                url = f"/dashboard{page.removesuffix('/')}"
                answer = await (http.post(url, data=sent, headers=OWN) if form else http.get(url))
                _, head, main = answer.text.partition("<main")
                text = (head + main.partition("</main>")[0] if page != "/" else answer.text).replace("><", ">\n<")
                place = answer.headers.get("location", "")
                shown.append(f"{line}\n{answer.status_code} {place}\n{text.strip()}\n")
    return "\n".join(shown)


def standing_still(now_ms: int) -> Any:
    """Return a runtime for asyncio whose wall clock stands still."""
    from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - the path is set first

    return attrs.evolve(asyncio_runtime(), now_ms=lambda: now_ms)


SHOWN: dict[str, Callable[[Path], str]] = {"at-rest.txt": at_rest, "live.txt": live, "pages.txt": pages}


def main() -> None:
    """Write each file."""
    sys.path[:0] = [str(HERE), str(TESTS / "cli")]
    FOLDER.mkdir(exist_ok=True)
    for name, show in SHOWN.items():
        with TemporaryDirectory() as folder:
            (FOLDER / name).write_text(show(Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
