"""A workflow is called by name, over HTTP and from another process like every other kind."""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

from engine_thread import engine_served
from flows import Approval, Order, Shop, approval, fulfilment

from perdure import App
from perdure.remote import connect_sync
from perdure.testing import World
from perdure.values.answer import DeadlinePassed, WasCancelled
from perdure.values.errors import UnknownAction


def test_calls_by_name_take_and_return_json() -> None:
    with World(App(Shop()).with_jobs(fulfilment)) as world:
        flow = world.jobs.handle_by_name("workflow", "fulfilment")
        world.run(flow.call("start", "o", '{"item": "book", "cents": 49, "stage": "new"}'))
        world.advance("1 second")
        signalled = world.run(flow.call("signal.approval", "o", '{"by": "ann"}'))
        assert signalled["accepted"]
        world.advance("4 days")
        outcome = world.run(flow.call("outcome", "o"))
        assert (outcome["form"], json.loads(outcome["value"])) == ("done", "label:a")


def test_callers_cannot_forge_the_messages_between_workflows() -> None:
    with World(App(Shop()).with_jobs(fulfilment)) as world:
        flow = world.jobs.handle_by_name("workflow", "fulfilment")
        end = '{"call": "child x:0", "form": "done", "value": "1"}'
        assert isinstance(world.error_of(flow.call("child_ended", "o", end)), UnknownAction)


def test_a_client_of_another_process_and_http_reach_a_workflow() -> None:
    with engine_served(App(Shop()).with_jobs(fulfilment)) as url:
        with connect_sync(url, fulfilment) as jobs:
            flow = jobs.handle(fulfilment)
            assert jobs.run(flow.start("o", Order("book", 49))).created
            assert jobs.run(flow.signal("o", approval, Approval("ann"))).accepted
            assert jobs.run(flow.cancel("o", "enough")).accepted
            jobs.run(jobs.until(fulfilment, "o"))
            assert jobs.run(flow.outcome("o")) == WasCancelled(reason="enough")
            assert (
                jobs.run(flow.start("late", Order("book", 49), after="1 hour", within="2 days")).status == "scheduled"
            )
            over = jobs.run(flow.start_and_wait("short", Order("book", 49), within="1 ms", timeout="20 seconds"))
            assert over == DeadlinePassed(reason="its deadline passed")
        with urlopen(f"{url}/openapi.json") as page:  # noqa: S310 - our own server
            text = page.read().decode()
        assert "signal.approval" in text
        assert "WorkflowOutcome" in text
        body = json.dumps({"item": "book", "cents": 49, "stage": "new"}).encode()
        path = f"{url}/v1/jobs/workflow/fulfilment/instances/p"
        headers = {"content-type": "application/json"}
        with urlopen(Request(f"{path}/start", body, headers)) as answer:  # noqa: S310 - as above
            assert json.load(answer)["created"] is True
        timed = b'{"state": {"item": "book", "cents": 49, "stage": "new"}, "after": "1 hour"}'
        with urlopen(Request(f"{url}/v1/jobs/workflow/fulfilment/instances/q/start_timed", timed, headers)) as answer:  # noqa: S310 - as above
            assert json.load(answer)["status"] == "scheduled"
        with urlopen(Request(f"{path}/signal.approval", b'{"by": "ann"}', headers)) as answer:  # noqa: S310 - as above
            assert json.load(answer)["accepted"]
