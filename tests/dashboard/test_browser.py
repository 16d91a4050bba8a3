"""The dashboard in Chromium, against an engine in another process."""

import asyncio
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import orjson
import pytest
from axe_playwright_python.sync_playwright import Axe
from engine_process import engine_on
from playwright.sync_api import expect
from test_rehearsal import RESULT

from perdure.cli.commands import run_command
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Retention
from perdure.testing.conformance.assertions import value
from perdure.values.limits import KeepHistory

expect.set_options(timeout=20_000)

ORDER = "/jobs/task/orders/instances/2026-0003"
INVOICE = "/jobs/task/invoices/instances/R-100"
READER = "reader-secret-of-this-token-0123456789"
OPERATOR = "operator-secret-of-this-token-0123456789"
CHAT = "/jobs/workflow/chat/instances/c-1"
PAGES = ["", "/instances", "/jobs", "/jobs/continuous/exchange-rates", "/parked", "/dead-letters", ORDER, INVOICE, CHAT]
CONFIRMATION = f"{INVOICE}/request/resume"


def status(page):
    return page.locator("#summary .status").inner_text()


def test_an_instance_is_found_by_filters_and_by_the_beginning_of_its_id(page, engine):
    page.goto(f"{engine.url}/instances")
    page.get_by_label("Status").select_option("paused")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    page.get_by_label("Id begins with").fill("2026-000")
    page.get_by_label("Id begins with").press("Enter")
    expect(page.locator("tbody tr")).to_have_count(9)
    page.get_by_role("link", name="task:orders:2026-0003").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2026-0003")
    expect(page.locator("#state pre")).to_contain_text('"card": "<secret>"')
    expect(page.locator("#neighbours")).to_have_count(0)


def test_instances_are_found_by_their_attributes(page, engine):
    page.goto(f"{engine.url}/instances")
    page.get_by_label("Kind").select_option("workflow")
    page.get_by_label("Job").select_option("sale")
    page.get_by_label("Attributes").fill("item=car")
    page.get_by_label("Attributes").press("Enter")
    expect(page.locator("#matching")).to_have_text("0 instances of the job meet the conditions.")
    api = engine.url.removesuffix("/dashboard")
    for number, item in enumerate(("car", "bus", "car")):
        start = f"{api}/v1/jobs/workflow/sale/instances/s-{number}/wait/start"
        assert page.request.post(start, data=f'"{item}"').ok
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#matching")).to_have_text("2 instances of the job meet the conditions.")
    assert Axe().run(page).violations_count == 0


def retention_round(url):
    """Move all events of sales out of the log, as a round of the engine does when they are a week old."""

    async def move():
        store = await open_sqlite(Path(url.removeprefix("sqlite:///")))
        await value(store.histories.declare({("workflow", "sale"): KeepHistory(age="90 days")}))
        now_ms = time.time_ns() // 1_000_000
        await value(store.prune(Retention(now_ms=now_ms, events_since_ms=now_ms + 1, max_events=1_000, limit=10_000)))
        await value(store.close())

    with ThreadPoolExecutor(1) as thread:  # the browser has a loop in this thread
        thread.submit(asyncio.run, move()).result()


def test_pages_say_how_many_events_a_job_keeps_beyond_the_log(page, engine, capsys):
    start = f"{engine.url.removesuffix('/dashboard')}/v1/jobs/workflow/sale/instances/s-1/wait/start"
    assert page.request.post(start, data='"car"').ok
    page.goto(f"{engine.url}/jobs/workflow/sale/instances/s-1")
    expect(page.locator("#timeline h2")).to_have_text("Timelinethe newest first")
    shown = page.locator("#timeline tbody tr").count()
    assert shown > 1
    engine.kill()
    retention_round(engine.store)
    assert run_command(["stats", f"--store={engine.store}"]) == 0
    assert f"workflow:sale  {shown} kept longer than the log" in capsys.readouterr().out
    engine.start()
    page.goto(f"{engine.url}/jobs/workflow/sale/instances/s-1")
    expect(page.locator("#timeline tbody tr")).to_have_count(shown)
    expect(page.locator("#timeline h2")).to_contain_text(f"its job keeps {shown} events beyond the log")
    page.goto(f"{engine.url}/jobs/workflow/sale")
    expect(page.locator("dd", has_text=f"{shown} events")).to_be_visible()
    assert Axe().run(page).violations_count == 0


def test_a_list_has_pages(page, engine):
    page.goto(f"{engine.url}/instances?job=orders")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(11)
    page.get_by_role("link", name="First page").click()
    expect(page.locator("tbody tr")).to_have_count(50)


def test_an_instance_is_paused_resumed_and_triggered_with_the_keyboard(page, engine):
    page.goto(f"{engine.url}{ORDER}")
    for action, result in (("pause", "paused"), ("resume", "idle")):
        page.get_by_role("link", name=action, exact=True).press("Enter")
        expect(page.get_by_text(f"Send the request {action} to task:orders:2026-0003?")).to_be_visible()
        expect(page.get_by_role("button", name=action)).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text(f"{action} task:orders:2026-0003: changed: yes")
        assert status(page) == result
    page.get_by_role("link", name="trigger").click()
    page.get_by_role("link", name="Cancel").click()
    assert status(page) == "idle"
    page.get_by_role("link", name="trigger").click()
    page.get_by_role("button", name="trigger").click()
    expect(page.locator("#main")).to_contain_text("There is no instance at this address")  # the alarm of a paid order
    expect(page.locator("#timeline")).to_contain_text("job.terminated")


def test_a_workflow_is_forked_from_a_step(page, engine):
    sold = "/jobs/workflow/sale/instances/s-1"
    api = engine.url.removesuffix("/dashboard")
    assert page.request.post(f"{api}/v1{sold}/wait/start", data='"car"').ok
    page.goto(f"{engine.url}{sold}")
    page.locator("#steps tbody tr", has_text="ship").get_by_role("link", name="fork").click()
    expect(page.get_by_label("Id of the fork")).to_have_value("s-1-fork")
    page.get_by_role("button", name="Fork").click()
    expect(page.locator("#notice")).to_contain_text("fork workflow:sale:s-1-fork: created: yes, kept: 1")
    expect(page.get_by_role("heading", level=1)).to_have_text("s-1-fork")
    expect(page.locator("#summary")).to_contain_text("workflow:sale:s-1")
    expect(page.locator("#steps tbody tr")).to_have_count(2)
    page.goto(f"{engine.url}{sold}/fork?step=fly")
    page.get_by_label("Id of the fork").fill("s-2")
    page.get_by_role("button", name="Fork").click()
    expect(page.get_by_role("alert")).to_contain_text("fly")
    assert Axe().run(page).violations_count == 0
    page.goto(f"{engine.url}/jobs/workflow/sale/instances/s-2")
    expect(page.locator("#main")).to_contain_text("There is no instance at this address")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_debugger_is_gone_through_by_its_links(page, engine, width, scheme):
    sold = f"/jobs/workflow/sale/instances/d-{width}"
    assert page.request.post(f"{engine.url.removesuffix('/dashboard')}/v1{sold}/wait/start", data='"car"').ok
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{engine.url}{sold}")
    page.locator("#debugger").get_by_role("link").click()
    expect(page.locator(".lead")).to_have_text("2 of 2 answers")
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Back").click()
    expect(page.locator(".lead")).to_have_text("1 of 2 answers")
    expect(page.locator("#position")).to_contain_text("served.py:")
    expect(page.locator("#locals tbody")).to_contain_text("ctx")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert Axe().run(page).violations_count == 0
    page.locator("#positions").get_by_role("link", name="0").click()
    expect(page.get_by_role("link", name="Back")).to_have_count(0)


def test_an_action_that_destroys_does_not_have_the_focus(page, engine):
    page.goto(f"{engine.url}{ORDER}/request/terminate")
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.get_by_role("button", name="terminate").click()
    expect(page.locator("#main")).to_contain_text("There is no instance at this address")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_result_of_a_rehearsal_is_chosen_as_a_file(page, engine, tmp_path, width, scheme):
    (tmp_path / "result.json").write_bytes(orjson.dumps(RESULT))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{engine.url}/rehearsal")
    page.get_by_label("File").set_input_files(tmp_path / "result.json")
    expect(page.get_by_role("heading", name="2 task:plan: charge happens twice")).to_be_visible()
    expect(page.get_by_role("img", name="Both timelines of task:plan:c1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert Axe().run(page).violations_count == 0


@pytest.mark.parametrize("width", [1440, 390])
def test_a_notice_is_as_wide_as_the_page(page, engine, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{engine.url}{ORDER}/request/pause")
    page.get_by_role("button", name="pause").click()
    expect(page.locator("#notice")).to_be_visible()
    box = page.locator("#notice").bounding_box()
    assert (box["x"], box["width"]) == (0, width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_request_is_explained_before_it_is_sent(page, engine):
    page.goto(f"{engine.url}/jobs/task/orders/instances/2026-0001")
    page.locator("label", has_text="Action").locator("select").select_option("send")
    page.get_by_label("Input as JSON").fill('{"type": "Paid", "cents": 5000}')
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("region", name="Changes")).to_contain_text("state.stage")
    expect(page.get_by_role("region", name="Messages")).to_contain_text("warehouse-1")
    page.get_by_role("button", name="send").click()
    expect(page.locator("#state pre")).to_contain_text('"stage": "paid"')


def test_several_instances_are_paused_at_once(page, engine):
    page.goto(f"{engine.url}/instances?job=orders")
    expect(page.get_by_role("button", name="pause")).to_be_disabled()
    page.get_by_label("Select all instances of this page").check()
    expect(page.locator("#selected")).to_have_text("With the 50 selected:")
    page.get_by_role("button", name="pause").click()
    page.get_by_role("button", name="pause 50 instances").click()
    expect(page.get_by_text("50 of 50 done.")).to_be_visible()


def test_a_dead_letter_is_redriven(page, engine):
    page.goto(f"{engine.url}/dead-letters")
    page.get_by_label(re.compile("Select message")).check()
    page.get_by_role("button", name="redrive").click()
    page.get_by_role("button", name="Redrive").click()
    expect(page.get_by_text("1 of 1 done.")).to_be_visible()


def test_a_parked_instance_is_resolved_from_its_list(page, engine):
    page.goto(f"{engine.url}/parked")
    page.get_by_role("link", name="resume task:invoices:R-100").click()
    page.get_by_role("button", name="resume").click()
    expect(page.locator("#notice")).to_contain_text("status: retrying")
    expect(page.locator("#timeline")).to_contain_text("job.resumed")


def test_a_page_follows_the_engine_and_keeps_the_place_of_its_reader(page, engine):
    page.goto(f"{engine.url}/instances?status=paused")
    box = page.get_by_label("Select task:orders:2026-0012")
    box.check()
    other = page.context.new_page()
    other.goto(f"{engine.url}/jobs/task/orders/instances/2026-0002/request/pause")
    other.get_by_role("button", name="pause").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(box).to_be_checked()
    expect(page.get_by_label("Select task:orders:2026-0002")).not_to_be_checked()
    other.goto(f"{engine.url}/jobs/task/orders/instances/2026-0012/request/resume")
    other.get_by_role("button", name="resume").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("#selected")).to_have_text("With the selected:")


def test_a_page_shows_a_stream_while_it_grows_and_where_a_step_began_again(page, engine):
    api = engine.url.removesuffix("/dashboard")
    page.goto(f"{engine.url}{CHAT}")
    assert page.request.post(f"{api}/v1{CHAT}/start?wait_for=start", data='"tea"').ok
    rows = page.locator("#stream-words li")
    expect(rows).to_have_text(["#0 0 emit wordsHello. ", "#1 1 answertea: Red tea <b>is</b> hot"])
    expect(page.locator("#stream-notes small").first).to_have_text("the newest of 400")
    notes = page.locator("#stream-notes .chunks")
    expect(notes).to_contain_text('{"word":"note 399","to":"<secret>"}')
    expect(notes).not_to_contain_text("ada@")
    assert notes.evaluate("node => node.scrollHeight > node.clientHeight && node.scrollTop === 0")  # at the newest
    engine.kill()
    engine.environ["ANSWERS"] = "yes"
    engine.start()
    expect(rows).to_have_count(4)
    expect(rows.nth(1).locator("s")).to_have_text("tea: Red tea <b>is</b> hot")
    expect(rows.nth(2)).to_have_text("#4 1 answerbegan again")
    expect(rows.nth(3)).to_have_text("#5 1 answertea: Green tea <b>is</b> hot, and good.")
    expect(rows.nth(3).locator("s")).to_have_count(0)
    expect(page.locator("#stream-notes li .value")).to_have_count(1)
    expect(page.locator("#summary .status")).to_have_text("done")
    page.get_by_role("link", name="show secrets").click()
    expect(notes).to_contain_text("ada@example.com")


def test_a_page_says_that_its_engine_died_and_follows_the_next_one(page, engine):
    page.goto(engine.url)
    expect(page.locator("#banner")).to_be_hidden()
    page.wait_for_function("document.querySelector('#as-of time').textContent")
    engine.kill()
    expect(page.locator("#banner")).to_contain_text("The engine is not reachable")
    engine.start()
    expect(page.locator("#banner")).to_be_hidden()
    before = page.locator("#as-of").inner_text()
    expect(page.locator("#as-of")).not_to_have_text(before)


def test_a_page_says_that_its_engine_hangs(page, engine):
    page.goto(engine.url)
    page.wait_for_function("document.querySelector('#as-of time').textContent")
    engine.send(signal.SIGSTOP)
    expect(page.locator("#banner")).to_contain_text("The engine is not reachable")
    engine.send(signal.SIGCONT)
    expect(page.locator("#banner")).to_be_hidden()


def test_one_page_more_than_the_limit_says_that_it_does_not_follow(page, tmp_path):
    served = engine_on(tmp_path, LIVE_PAGES="1")
    engine = next(served)
    page.goto(engine.url)
    before = page.locator("#as-of").inner_text()
    expect(page.locator("#as-of")).not_to_have_text(before)
    other = page.context.new_page()
    other.goto(engine.url)
    expect(other.locator("#banner")).to_contain_text("This page does not follow the engine: 1 others do")
    expect(page.locator("#banner")).to_be_hidden()
    served.close()


def test_a_form_that_is_older_than_its_engine_says_so(page, engine):
    page.goto(f"{engine.url}{ORDER}/request/pause")
    engine.kill()
    engine.start()
    page.get_by_role("button", name="pause").click()
    expect(page.get_by_role("alert")).to_contain_text("older than this engine")


def test_a_token_decides_on_the_actions_and_ends_with_its_engine(page, tmp_path):
    tokens = f"reader read {READER}; operator read,call,operate {OPERATOR}"
    served = engine_on(tmp_path, TOKENS=tokens)
    engine = next(served)
    page.goto(f"{engine.url}{ORDER}")
    page.get_by_label("Token").fill("x" * 40)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("does not know that token")
    page.get_by_label("Token").fill(READER)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2026-0003")
    expect(page.get_by_role("navigation", name="Actions")).to_have_count(0)
    assert page.context.cookies()[0]["httpOnly"]
    page.goto(f"{engine.url}/instances")
    expect(page.locator("input[type=checkbox]")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").fill(OPERATOR)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{engine.url}{ORDER}")
    expect(page.get_by_role("navigation", name="Actions")).to_have_count(1)
    engine.kill()
    engine.start()
    expect(page.locator("#banner")).to_contain_text("Your session has ended")
    served.close()


def test_every_page_works_without_script(chromium, engine):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{engine.url}/instances?status=paused")
    page.get_by_label("Select task:orders:2026-0012").check()
    page.get_by_role("button", name="resume").click()
    page.get_by_role("button", name="resume 1 instance").click()
    expect(page.get_by_text("1 of 1 done.")).to_be_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_phone(chromium, engine, scheme):
    found = {}
    api = engine.url.removesuffix("/dashboard")
    with urlopen(Request(f"{api}/v1{CHAT}/start?wait_for=start", data=b'"tea"', method="POST")) as answer:  # noqa: S310 - our own server
        assert answer.status == 200
    for width in (1440, 390):
        context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page = context.new_page()
        for path in (*PAGES, CONFIRMATION):
            page.goto(f"{engine.url}{path}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            violations = Axe().run(page).response["violations"]
            serious = [(each["id"], each["nodes"][0]["html"]) for each in violations]
            if serious:
                found[path, width] = serious
        context.close()
    assert found == {}
