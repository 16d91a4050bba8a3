"""The lists of the dashboard: their pages, their commands, and the rows that are late."""

import re
from html import unescape
from itertools import chain

import htpy as h
import pytest
import scene
from visitor import visit

from perdure.client.local_gateway import engine_of
from perdure.dashboard.jobs import InstanceList, Wanted, instances_page
from perdure.dashboard.page import Frame, Links
from perdure.values.address import Address
from perdure.values.listings import LISTED_STATUSES, Listed
from perdure.values.status import InstanceStatus
from perdure.values.times import from_ms


@pytest.mark.parametrize("query", ["", "?job=orders", "?kind=task&id_prefix=2026&status=scheduled"])
def test_each_instance_of_a_list_is_on_one_of_its_pages(query):
    async def scenario(visitor):
        paths, shown = [f"/instances{query}"], []
        for path in paths:
            page = (await visitor.get(unescape(path))).text
            shown.append(re.findall(r'data-key="([^"]+)"', page))
            paths += re.findall(r'rel="next" href="/dashboard([^"]+)"', page) if len(paths) < 5 else []
        listed = (await visitor.http.get(f"/v1/instances?limit=1000{query.replace('?', '&')}")).json()["instances"]
        return shown, [":".join(row["address"][part] for part in ("kind", "name", "id")) for row in listed]

    shown, listed = visit(scenario)
    assert [len(rows) for rows in shown[:-1]] == [50] * (len(shown) - 1)
    assert list(chain.from_iterable(shown)) == listed
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("wanted", "command"),
    [
        (Wanted(), "perdure list"),
        (Wanted(kind="task"), "perdure list --kind=task"),
        (Wanted(job="orders"), "perdure list --job=task:orders; perdure list --job=pool:orders"),
        (Wanted(job="mails", status="idle"), "perdure list --job=task:mails --status=idle"),
        (Wanted(job="orders", kind="pool", due="hour"), "perdure list --job=pool:orders --due-in='1 hour'"),
        (
            Wanted(job="mails", where="n>1; ;m<2", after="task:mails:a"),
            "perdure list --job=task:mails --where='n>1' --where='m<2' --after=task:mails:a",
        ),
    ],
)
def test_the_commands_of_a_list_name_each_job_that_it_lists(wanted, command):
    jobs = (("task", "orders"), ("task", "mails"), ("pool", "orders"))
    assert instances_page(Frame(links=Links()), InstanceList(wanted=wanted, jobs=jobs)).command == command


@pytest.mark.parametrize("status", LISTED_STATUSES)
@pytest.mark.parametrize(("late_ms", "is_behind"), [(-1, False), (0, False), (1, True), (None, False)])
def test_an_instance_is_late_if_its_time_has_passed_and_nothing_keeps_it_back(status, late_ms, is_behind):
    next_run_at = None if late_ms is None else from_ms(60_000 - late_ms)
    report = InstanceStatus(status="idle" if status == "orphaned" else status, next_run_at=next_run_at)
    found = Listed(address=Address("task", "orders", "a"), status=status, report=report)
    page = instances_page(Frame(links=Links(), now_ms=60_000), InstanceList(wanted=Wanted(), found=(found,)))
    is_late = '<td class="late">' in str(h.div[page.body])
    assert is_late == (is_behind and status in {"scheduled", "retrying"})


def test_only_a_later_page_of_a_list_links_the_first_one():
    async def scenario(visitor):
        paths = ("/instances", "/instances?after=task:orders:2026-0003")
        return ["First page" in (await visitor.get(path)).text for path in paths]

    assert visit(scenario) == [False, True]


def test_the_next_page_of_dead_letters_keeps_the_place_in_the_list_of_items():
    async def scenario(visitor):
        jobs = visitor.api.client
        orders = jobs.handle(scene.orders)
        for number in range(51):
            await orders.send(f"unlucky-{number}", scene.Placed(13))
            await orders.send(f"unlucky-{number}", scene.Paid(13))
        while len(await jobs.dead_letters(limit=52)) < 52:
            await engine_of(jobs).runtime.sleep(1)
        first = (await visitor.get("/dead-letters?item=pool:images:9")).text
        [following] = re.findall(r'rel="next" href="/dashboard([^"]+)"', first)
        second = (await visitor.get(unescape(following))).text
        keys = [int(key) for page in (first, second) for key in re.findall(r'data-key="(\d+)"', page)]
        letters = [letter.message_id for letter in await jobs.dead_letters(limit=52)]
        return keys == letters, following.partition("item=")[2], 'rel="next"' in second

    assert visit(scenario) == (True, "pool%3Aimages%3A9", False)
