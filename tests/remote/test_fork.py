"""A forked child has connections of its own."""

import asyncio
import sys

from returns.result import Success

from perdure import App, Decision, Task
from perdure.server.api import asgi_of
from perdure.server.listening import listening

FORK = """
import os, sys
from perdure.remote import connect_sync

with connect_sync(sys.argv[1]) as jobs:
    job = jobs.handle_by_name("task", "total")
    jobs.run(job.call("send", "a", "5"))
    if os.fork() == 0:
        try:
            jobs.run(job.call("send", "a", "6"))
        finally:
            os._exit(0)
    os.wait()
    print(jobs.run(job.get_state("a")))
"""

total = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event)))


def test_a_child_uses_no_connection_of_its_parent():
    async def main():
        ports = []
        async with App(None).with_jobs(total).open("memory://") as jobs:
            engine = asgi_of(jobs)

            async def noted(scope, receive, send):
                ports.append(scope["client"][1])
                await engine(scope, receive, send)

            async with listening(noted, ["127.0.0.1:0"]) as server:
                command = sys.executable, "-c", FORK, server.urls[0]
                parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                said, _ = await parent.communicate()
        return said.decode().strip(), ports

    said, (first, child, last) = asyncio.run(main())
    assert said == "11"
    assert first == last != child
