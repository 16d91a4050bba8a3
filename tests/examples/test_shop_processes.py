"""The web shop as it runs: two web processes and one engine on real sockets, which is killed under load."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2
import pytest
from attrs import define, field
from playwright.sync_api import Page, expect

expect.set_options(timeout=20_000)

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BROWSERS = 8
ORDERS = 3  # of each browser
KILLED_AFTER = 20  # acknowledged requests of 3 * 24
SETTLED = ("paid", "cancelled")


@define
class Shop:
    """The processes of the shop, in one folder."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(factory=list[subprocess.Popen[str]])
    environ: dict[str, str] = field(factory=dict[str, str])

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a process."""
        path = os.pathsep.join((str(EXAMPLES), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={**os.environ, **self.environ, "PYTHONPATH": path, "SHOP_FILES": str(self.folder), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return process

    def engine(self, app: str = "web_shop.jobs:app") -> subprocess.Popen[str]:
        return self.start("perdure", "run", app, "--store", "sqlite:///shop.db", "--log-level", "error")

    def web(self, port: str = "0") -> subprocess.Popen[str]:
        app = "web_shop.web:from_environment"
        return self.start("uvicorn", "--factory", app, "--port", port, "--no-access-log")


def line_of(process: subprocess.Popen[str], text: str) -> str:
    """Wait for the line that says that a process serves."""
    assert process.stdout is not None
    seen = []
    for printed in process.stdout:
        seen.append(printed)
        if text in printed:
            return printed
    raise AssertionError(f"the process ended: {''.join(seen)}")


def url_of(web: subprocess.Popen[str]) -> str:
    found = re.search(r"http://[\d.:]+", line_of(web, "running on"))
    assert found is not None
    return found[0]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    for process in shop.running:
        process.kill()
        process.wait(120)
        assert process.stdout is not None
        process.stdout.close()


@define
class Customers:
    """Customers whose browsers repeat each request with its key, through both web processes, until it is answered."""

    web: tuple[httpx2.AsyncClient, httpx2.AsyncClient]
    acknowledged: int = 0
    enough: asyncio.Event = field(factory=asyncio.Event)
    repeats: int = 0

    async def post(self, path: str, key: str, body: object) -> Any:
        for attempt in range(1_000):
            response = await self.web[attempt % 2].post(path, json=body, headers={"Idempotency-Key": key})
            if response.status_code < 500:
                assert response.status_code in (201, 202), response.text
                self.acknowledged += 1
                if self.acknowledged == KILLED_AFTER:
                    self.enough.set()
                return response.json()
            self.repeats += 1
        raise AssertionError(f"no answer to {path}")

    async def buy(self, name: str) -> str:
        """Place an order and pay it; every third customer cancels it once it is paid."""
        body = {"customer": f"{name}@example.com", "lines": [{"article": "book", "quantity": 2, "price_cents": 500}]}
        order = (await self.post("/orders", f"place-{name}", body))["id"]
        assert (await self.post("/orders", f"place-{name}", body))["id"] == order  # the browser repeats it
        await self.post(f"/orders/{order}/payment", f"pay-{name}", {"card": name})
        await self.settled(order)
        if int(name) % 3 == 0:
            await self.post(f"/orders/{order}/cancellation", f"cancel-{name}", {"reason": "too late"})
        return str(order)

    async def settled(self, order: str) -> str:
        """Ask until the payment provider was called."""
        for asked in range(10_000):
            response = await self.web[asked % 2].get(f"/orders/{order}")
            if response.status_code == 200 and response.json()["stage"] in SETTLED:
                return str(response.json()["stage"])
        raise AssertionError(f"order {order} is not settled: {response.text}")


async def sell(shop: Shop, engine: subprocess.Popen[str], customers: Customers) -> None:
    """Kill the engine while everything is bought, start it again, and look at each order through both processes."""
    one, two = customers.web

    async def browser(number: int) -> dict[str, str]:
        names = [str(number * ORDERS + order) for order in range(ORDERS)]
        return {name: await customers.buy(name) for name in names}

    browsers = [asyncio.ensure_future(browser(number)) for number in range(BROWSERS)]
    await customers.enough.wait()
    engine.send_signal(signal.SIGKILL)
    await asyncio.to_thread(engine.wait)
    shop.engine()
    orders = {name: order for bought in await asyncio.gather(*browsers) for name, order in bought.items()}

    assert len(set(orders.values())) == BROWSERS * ORDERS
    for name, order in orders.items():
        assert await customers.settled(order) == ("cancelled" if int(name) % 3 == 0 else "paid")
        events = (await two.get(f"/orders/{order}/history")).json()
        assert [event["type"] for event in events].count("job.started") == 1
    assert (await one.get("/waiting-orders")).json() == []
    check_payments(shop.folder, set(orders))


def check_payments(folder: Path, names: set[str]) -> None:
    """Each card was charged once, and each cancelled order refunded once."""
    calls = [json.loads(line) for line in (folder / "payments.jsonl").read_text().splitlines()]
    cards = [call["card"] for call in calls if "charged" in call]
    refunds = [call["refunded"] for call in calls if "refunded" in call]
    assert sorted(cards) == sorted(names)
    assert len(refunds) == len(set(refunds)) == sum(int(name) % 3 == 0 for name in names)


async def refuse(browser: httpx2.AsyncClient) -> None:
    """A forbidden action of a customer is refused, with the reason."""
    assert (await browser.post("/orders", json={})).status_code == 422  # no key, no customer
    missing = await browser.get("/orders/00000000-0000-0000-0000-000000000000")
    assert missing.status_code == 404
    key = {"Idempotency-Key": "click-1"}
    body = {"customer": "ada@example.com", "lines": [{"article": "book", "quantity": 1, "price_cents": 500}]}
    placed = await browser.post("/orders", json=body, headers=key)
    order = placed.json()["id"]
    assert (placed.status_code, placed.headers["location"]) == (201, f"/orders/{order}")
    other = await browser.post("/orders", json={**body, "lines": body["lines"] * 2}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert [entry["id"] for entry in (await browser.get("/waiting-orders")).json()] == [order]
    cancelled = await browser.post(f"/orders/{order}/cancellation", json={"reason": "no"}, headers=key)
    assert cancelled.json()["code"] == "idempotency_conflict"  # one key for each click
    cancel = {"Idempotency-Key": "click-2"}
    cancelled = await browser.post(f"/orders/{order}/cancellation", json={"reason": "no"}, headers=cancel)
    assert (cancelled.status_code, cancelled.json()["stage"]) == (202, "cancelled")
    card = {"Idempotency-Key": "click-3"}
    paid = await browser.post(f"/orders/{order}/payment", json={"card": "c"}, headers=card)
    assert (paid.status_code, paid.json()["detail"]) == (409, "Pay is not possible: the order is cancelled")


async def run_the_shop(shop: Shop) -> None:
    webs = shop.web(), shop.web()
    one, two = (httpx2.AsyncClient(base_url=url_of(web), timeout=60) for web in webs)
    async with one, two:
        first = asyncio.ensure_future(one.get("/waiting-orders"))  # it waits for the engine
        engine = shop.engine()
        answer = await first
        while answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:  # the engine took longer to start
            answer = await one.get("/waiting-orders")
        assert answer.json() == []
        await refuse(two)
        await sell(shop, engine, Customers((one, two)))


def test_no_order_is_lost_or_applied_twice_when_the_engine_is_killed(shop: Shop) -> None:
    asyncio.run(run_the_shop(shop))


# ---------------------------------------------------------------- the page of an order, last: it keeps a browser open
def placed(page: Page, url: str) -> str:
    """Place an order of 10 € and pay it; return its URL."""
    body = {"customer": "ada@example.com", "lines": [{"article": "book", "quantity": 2, "price_cents": 500}]}
    order = page.request.post(f"{url}/orders", data=body, headers={"Idempotency-Key": "place"}).json()["id"]
    key = {"Idempotency-Key": "pay"}
    assert page.request.post(f"{url}/orders/{order}/payment", data={"card": "c"}, headers=key).status == 202
    return f"{url}/orders/{order}"


def test_the_page_of_an_order_continues_over_kills_of_both_tiers_and_over_a_reload(shop: Shop, page: Page) -> None:
    web, engine = shop.web(), shop.engine("hesitant_shop:app")
    url = url_of(web)
    asked: list[str | None] = []
    page.on(
        "request", lambda sent: asked.append(sent.header_value("last-event-id")) if "progress" in sent.url else None
    )
    page.goto(f"{placed(page, url)}/page")
    lines, connection = page.get_by_role("log").get_by_role("listitem"), page.get_by_role("status")
    expect(lines).to_have_text(["Your card is charged…"])
    for killed in (engine, web):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    expect(connection).to_have_text("Connecting…")
    shop.environ["SHOP_ANSWERS"] = "yes"
    shop.web(url.rpartition(":")[2])
    shop.engine("hesitant_shop:app")
    # The run began again, behind a mark: its line is replaced, and not repeated.
    expect(lines).to_have_text(["Your card is charged…", "Paid. Thank you!"])
    expect(connection).to_have_text("")
    assert asked[0] is None
    assert asked[-1] == "0"
    page.reload()
    expect(lines).to_have_text(["Your card is charged…", "Paid. Thank you!"])
    assert asked[-1] is None
