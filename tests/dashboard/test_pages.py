"""The dashboard without a browser: its pages, their twins, and the requests that it refuses."""

import re
import shlex
from html import unescape
from html.parser import HTMLParser

import orjson
import pytest
import scene
from visitor import OWN, SECRETS, TOKENS, fields_of, path_of, signed_in, visit

from perdure.cli.commands import command_line
from perdure.dashboard.actions import BULK
from perdure.dashboard.instance import InstanceDetails, steps_panel
from perdure.dashboard.jobs import _PLACES, Step, lifecycle_diagram
from perdure.dashboard.page import Frame, Links, still_counting
from perdure.server.dashboard_pages import whole
from perdure.values.address import Address
from perdure.values.errors import InvalidArgument
from perdure.values.listings import StepRecord

ORDER = "task/orders/2026-0003"
INVOICE = "task/invoices/R-100"
PAGES = ["", "/instances", "/jobs", "/jobs/task/orders", "/parked", "/dead-letters", path_of(ORDER), path_of(INVOICE)]


def bearer(name):
    return {"Authorization": f"Bearer {SECRETS[name]}"}


def first_update(page):
    """Follow a page until its first event, and return that."""
    return visit(lambda visitor: visitor.first_event(page))


@pytest.mark.parametrize("page", ["//[", "/instances?" + "a=1&" * 30, "/jobs/a/b/instances/%ff", "/nowhere"])
def test_live_updates_of_a_page_that_does_not_exist_say_so(page):
    assert "event: trouble" in first_update(page)


@pytest.mark.parametrize("mounted_at", ["", "/shop/jobs"])
def test_each_page_links_only_pages_that_exist(mounted_at):
    async def scenario(visitor):
        found, broken = set(), []
        for path in PAGES:
            page = await visitor.get(path)
            assert page.status_code == 200, path
            found |= {link.replace("&amp;", "&") for link in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)}
        posts = ("/bulk", "/explain", "/future", "/redrive", "/bury", "/forget-key")  # of forms
        for link in sorted(found):
            assert link.startswith(f"{mounted_at}/dashboard"), link
            if not link.endswith(posts) and (await visitor.http.get(link)).status_code != 200:
                broken.append(link)
        return broken, len(found) > 60

    assert visit(scenario, mounted_at=mounted_at) == ([], True)


@pytest.mark.parametrize("name", ["reader", "caller", "operator"])
def test_each_page_offers_only_links_and_forms_that_its_reader_may_use(name):
    async def scenario(visitor):
        offered = set()
        for path in PAGES:
            page = (await visitor.get(path, **bearer(name))).text
            offered |= {unescape(link) for link in re.findall(r'(?:href|action)="(/dashboard[^"#]*)"', page)}
        refused = [link for link in offered if (await visitor.http.get(link, headers=bearer(name))).status_code == 403]
        return refused, sorted({link.rpartition("/")[2] for link in offered} & {"hold", "bulk", "dead-letters"})

    actions = {"reader": [], "caller": ["bulk"], "operator": ["bulk", "dead-letters", "hold"]}
    assert visit(scenario, access=TOKENS) == ([], actions[name])


NEEDED = {
    "a": {"href"},
    "form": {"method", "action"},
    "select": {"name"},
    "option": {"value"},
    "textarea": {"name", "maxlength"},
    "button": {"type"},
    "time": {"datetime"},
    "th": {"scope"},
    "nav": {"aria-label"},
    "pre": {"tabindex", "role", "aria-label"},
    "html": {"lang"},
    # A field for text has a limit, and the browser offers no text of an earlier form.
    "input search": {"name", "maxlength"},
    "input text": {"name", "maxlength", "autocomplete"},
    "input password": {"name", "maxlength"},
    "input hidden": {"name", "value"},
    "input file": {"accept"},
    "input checkbox": set(),  # one that marks all others has no name
}
"""The attributes without which an element of this kind is of no use."""


class Elements(HTMLParser):
    """The elements of a page, with the attributes that each lacks."""

    def __init__(self, html):
        super().__init__()
        self.seen, self.lacking, self.crumbs = set(), [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        kind = f"{tag} {given.get('type') or 'text'}" if tag == "input" else tag
        self.seen.add(kind)
        lacks = NEEDED.get(kind, set()) - {name for name, value in given.items() if value is not None}
        self.lacking += [(self.get_starttag_text(), lacks)] if lacks else []
        self.crumbs += given.get("aria-label") == "Breadcrumbs"


def test_each_element_of_each_page_has_the_attributes_that_its_kind_needs():
    async def scenario(visitor):
        seen, lacking = set(), []
        await signed_in(visitor, "operator")
        csrf = await visitor.token_of_forms()
        asked = {"csrf": csrf, "action": "terminate", "address": ["task:orders:2026-0001"]}
        requests = [f"{path_of(ORDER)}/request/{action}" for action in ("terminate", "trigger")]
        pages = [*[await visitor.get(path) for path in (*PAGES, *requests)], await visitor.post("/bulk", asked)]
        pages += [await visitor.get("/rehearsal")]
        await visitor.post("/logout", {"csrf": csrf})
        for page in (*pages, await visitor.get("/login")):
            assert page.status_code == 200
            found = Elements(page.text)
            seen |= found.seen
            lacking += found.lacking
            if "/instances/" in str(page.url):
                assert found.crumbs == 1, page.url
        return lacking, NEEDED.keys() - seen

    assert visit(scenario, access=TOKENS) == ([], set())


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("child orders:o/1:a", "/shop/dashboard/jobs/workflow/orders/instances/o%2F1%3Aa"),
        ("child orders", None),
        ("charge", None),
        ("a:b", None),
    ],
)
def test_the_name_of_a_step_that_is_a_child_links_it(name, link):
    steps = (StepRecord(path="0", name=name, status="waiting"),)
    view = InstanceDetails(address=Address("workflow", "orders", "o"), instance=None, served=True, steps=steps)
    shown = str(steps_panel(Frame(links=Links("/shop")), view))
    assert re.findall(r'href="([^"]+)"', shown) == ([] if link is None else [link])
    assert name in re.sub(r"<[^>]+>", "", shown)


@pytest.mark.parametrize("path", PAGES)
def test_each_page_has_a_twin_in_json_and_in_the_shell(path):
    async def scenario(visitor):
        page = await visitor.get(path)
        twin = re.search(r'id="twin" href="([^"]+)"', page.text)[1]
        answer = await visitor.http.get(twin.replace("&amp;", "&"))
        texts = ["<code>perdure " in page.text, "<code>GET /v1/" in page.text]
        return answer.headers["content-type"], type(orjson.loads(answer.content)), texts

    assert visit(scenario) == ("application/json", dict, [True, True])


def test_a_page_runs_no_script_but_its_own_and_no_site_frames_it():
    async def scenario(visitor):
        page = await visitor.get()
        assert "<script src=" in page.text
        assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", page.text)
        return page.headers["content-security-policy"]

    policy = visit(scenario)
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_an_id_and_a_state_of_any_characters_are_text():
    odd = "<script>alert(1)</script>\"'/&?#%é"

    async def scenario(visitor):
        await visitor.api.client.handle(scene.reminders).wish(odd, "</pre><b>bold")
        listed = await visitor.get("/instances?job=reminders")
        link = Links().instance(Address("reminder", "reminders", odd))
        page = await visitor.http.get(link)
        return link in listed.text, page.status_code, "<script>alert" in listed.text + page.text, "<b>bold" in page.text

    assert visit(scenario) == (True, 200, False, False)


def test_a_kind_of_a_user_shows_up_with_its_own_facts_and_actions():
    async def scenario(visitor):
        job, page = await visitor.get("/jobs/reminder/reminders"), await visitor.get(path_of("reminder/reminders/tea"))
        return "says a text once" in job.text, "the tea is ready" in page.text, ">snooze</option>" in page.text

    assert visit(scenario) == (True, True, True)


def test_secrets_are_hidden_unless_an_operator_asks_for_them():
    async def scenario(visitor):
        pages = [
            (await visitor.get(f"{path_of(ORDER)}{query}", **bearer(name))).text
            for name in ("caller", "operator")
            for query in ("", "?secrets=shown", "?format=json", "?secrets=shown&format=json")
        ]
        return ["4111" in page for page in pages]

    assert visit(scenario, access=TOKENS) == [False, False, False, False, False, True, False, True]


def test_tracebacks_are_for_operators():
    async def scenario(visitor):
        path = path_of("task/printed-invoices/P-7")
        asked = [(name, query) for name in ("reader", "caller", "operator") for query in ("", "?format=json")]
        pages = [await visitor.get(f"{path}{query}", **bearer(name)) for name, query in asked]
        return ["ConnectionResetError" in page.text and "in post_invoice" in page.text for page in pages]

    assert visit(scenario, access=TOKENS) == [False, False, False, False, True, True]


def test_a_filter_that_is_not_valid_is_a_problem_on_the_page():
    async def scenario(visitor):
        pages = [await visitor.get(f"/instances?{query}") for query in ("status=no", "after=no", "id_prefix=2026-00")]
        return [(page.status_code, 'role="alert"' in page.text, page.text.count("2026-00") > 50) for page in pages]

    assert visit(scenario) == [(200, True, False), (200, True, False), (200, False, True)]


@pytest.mark.parametrize(
    "path",
    [
        *PAGES,
        "/jobs/debounce/digests",
        "/instances?job=orders&status=idle&id_prefix=2026&due=overdue",
        "/instances?kind=task&due=hour&after=task:orders:a",
        f"{path_of(ORDER)}/request/pause",
    ],
)
def test_the_commands_of_a_page_exist(path):
    async def scenario(visitor):
        return (await visitor.get(path)).text

    assert_commands_exist(visit(scenario))


@pytest.mark.parametrize("query", ["", "?kind=task&job=orders&id_prefix=2026", "?due=hour&after=task:orders:2026-0002"])
def test_the_route_of_a_list_answers_with_its_instances(query):
    async def scenario(visitor):
        page = (await visitor.get(f"/instances{query}")).text
        (route,) = re.findall(r"Over HTTP: <code>GET (.*?)</code>", page)
        rows = (await visitor.http.get(f"{unescape(route)}{'&' if '?' in route else '?'}limit=50")).json()["instances"]
        printed = [":".join(row["address"][part] for part in ("kind", "name", "id")) for row in rows]
        return re.findall(r'data-key="(.*?)"', page), printed

    shown, listed = visit(scenario)
    assert shown == listed != []


@pytest.mark.parametrize("action", BULK)
def test_the_command_for_several_instances_exists(action):
    async def scenario(visitor):
        addresses = ["task:orders:2026-0001", "debounce:digests:x y"]
        form = {"csrf": await visitor.token_of_forms(), "action": action, "address": addresses}
        return (await visitor.post("/bulk", form)).text

    assert_commands_exist(visit(scenario))


def assert_commands_exist(page):
    (shown,) = re.findall(r"In the shell: <code>(.*?)</code>", page)
    for each in unescape(shown).split("; "):
        name, *arguments = shlex.split(each.removeprefix("perdure "))
        command_line(name).parse_args([name, *arguments], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("path", ["/nothing", "/jobs/task/none", "/jobs/a", "/dead-letters?after=x", "/jobs/%ff/x"])
def test_a_page_that_does_not_exist_leads_back(path):
    async def scenario(visitor):
        page = await visitor.get(path)
        return page.status_code in {400, 404, 422}, "To the overview" in page.text

    assert visit(scenario) == (True, True)


def test_a_page_of_an_unknown_job_is_not_found_and_an_action_for_it_is_not_done():
    async def scenario(visitor):
        path = "/jobs/task/none/instances/a/request/terminate"
        csrf = await visitor.token_of_forms()
        asked, done = await visitor.get(path), await visitor.post(path, {"csrf": csrf, "confirmed": "yes", "key": "k"})
        return [re.search(r"<h1[^>]*>(.*?)</h1>", page.text)[1] for page in (asked, done)]

    assert visit(scenario) == ["Not found", "Not done"]


# ---------------------------------------------------------------- actions
def test_an_action_is_explained_confirmed_and_then_done_once():
    async def scenario(visitor):
        path = f"{path_of(ORDER)}/request/pause"
        asked = await visitor.get(path)
        unconfirmed = await visitor.post(path, fields_of(asked.text) | {"confirmed": ""})
        status = await visitor.api.client.handle(scene.orders).status("2026-0003")
        form = fields_of(asked.text)
        done, again = await visitor.post(path, form), await visitor.post(path, form)
        shown = await visitor.http.get(done.headers["location"])
        assert "suspension" in asked.text
        assert "Send the request pause to" in unconfirmed.text
        assert done.headers["location"] == again.headers["location"]
        return status.status, done.status_code, "changed: yes, status: paused" in shown.text

    assert visit(scenario) == ("idle", 303, True)


@pytest.mark.parametrize(
    ("payload", "shown", "offered"),
    [
        ('{"type":"Paid","cents":5000}', "perdure explain task:orders:2026-0001 send &#39;{&#34;type", True),
        ("{", "not JSON", False),
        ("", "needs its input as JSON", False),
    ],
)
def test_a_request_is_offered_only_with_valid_input(payload, shown, offered):
    async def scenario(visitor):
        form = {"csrf": await visitor.token_of_forms(), "action": "send", "payload": payload}
        page = await visitor.post(f"{path_of('task/orders/2026-0001')}/explain", form)
        return shown in page.text, "Send the request send to" in page.text, ">Back</a>" in page.text

    assert visit(scenario) == (True, offered, not offered)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "perdure future task:orders:2026-0001 --for &#39;30 days&#39;"),
        ({"action": "send", "payload": '{"type":"Paid","cents":5000}', "twice": "yes", "after": "2 days"}, "request"),
        ({"action": "send", "payload": "{"}, "not JSON"),
        ({"lasting": "soon"}, "soon"),
        ({"action": "send", "payload": "5"}, 'role="alert"'),
        ({"down": "charge", "down_for": "soon"}, "downtime of charge"),
        ({"instances": "0"}, "1 to 100"),
        ({"instances": "many"}, "a whole number"),
        ({"instances": "3", "never": "send"}, "--never send --instances 3"),
        ({"never": "pay"}, "never of a future"),
        ({"answers": "[1]"}, "expected a JSON object"),
        ({"answers": '{"fetch": 3}'}, "--answer fetch=3"),
    ],
)
def test_the_future_of_an_instance_is_shown(fields, shown):
    async def scenario(visitor):
        before = (await visitor.get(path_of("task/orders/2026-0001"))).text
        asked = {"lasting": "30 days", "after": "0 ms", "down_for": "1 day", "instances": "100", **fields}
        page = await visitor.post(
            f"{path_of('task/orders/2026-0001')}/future", {"csrf": await visitor.token_of_forms(), **asked}
        )
        after = (await visitor.get(path_of("task/orders/2026-0001"))).text
        versions = [re.search(r"<dt>version</dt><dd>([\d.]+)", text) for text in (before, after)]
        return page.status_code, shown in page.text, [each and each[1] for each in versions]

    status, is_shown, (before, after) = visit(scenario)
    assert (status, is_shown) == (200, True)
    assert before == after


def test_an_alarm_that_does_nothing_says_why():
    async def scenario(visitor):
        form = {"csrf": await visitor.token_of_forms(), "action": "alarm", "payload": ""}
        return (await visitor.post(f"{path_of(ORDER)}/explain", form)).text

    assert "It is idle: no alarm is set." in visit(scenario)


def test_a_notice_that_the_server_did_not_write_is_not_shown():
    async def scenario(visitor):
        page = await visitor.get(f"{path_of(ORDER)}?notice=call+0800+now&signature=0")
        return 'id="notice"' in page.text

    assert visit(scenario) is False


def test_several_instances_are_confirmed_and_each_has_its_outcome():
    async def scenario(visitor):
        addresses = ["task:orders:2026-0001", "task:orders:2026-0002", "task:orders:none", "debounce:digests:x"]
        form = {"csrf": await visitor.token_of_forms(), "action": "trigger", "address": addresses}
        asked = await visitor.post("/bulk", form)
        done = await visitor.post("/bulk", form | {"confirmed": "yes", "key": fields_of(asked.text)["key"]})
        return "trigger 4 instances" in asked.text, "3 of 4 done" in done.text, "has no action" in done.text

    assert visit(scenario) == (True, True, True)


@pytest.mark.parametrize("addresses", [[], [f"task:orders:{number}" for number in range(101)]])
def test_an_action_is_for_one_to_a_hundred_instances(addresses):
    async def scenario(visitor):
        form = {"csrf": await visitor.token_of_forms(), "action": "pause", "address": addresses, "confirmed": "yes"}
        page = await visitor.post("/bulk", form)
        return page.status_code, "1 to 100" in page.text

    assert visit(scenario) == (422, True)


def test_a_dead_letter_is_delivered_again_after_a_confirmation():
    async def scenario(visitor):
        [letter] = await visitor.api.client.dead_letters()
        form = {"csrf": await visitor.token_of_forms("/dead-letters"), "message": str(letter.message_id)}
        asked = await visitor.post("/dead-letters/redrive", form)
        done = await visitor.post("/dead-letters/redrive", form | {"confirmed": "yes"})
        return "Deliver 1 dead letter again" in asked.text, "1 of 1 done" in done.text

    assert visit(scenario) == (True, True)


def test_an_action_is_recorded_with_the_name_of_its_caller():
    async def scenario(visitor):
        await signed_in(visitor, "operator")
        await visitor.request(ORDER, "pause")
        [letter] = await visitor.api.client.dead_letters()
        form = {"csrf": await visitor.token_of_forms("/dead-letters"), "confirmed": "yes"}
        await visitor.post("/dead-letters/redrive", form | {"message": str(letter.message_id)})
        client = visitor.api.client
        events = [
            *await client.history(scene.orders, "2026-0003", limit=1),
            *await client.history(scene.shipments, "warehouse-1"),
        ]
        shown = await visitor.get(path_of(ORDER))
        by = {logged.event.type: logged.event.by for logged in events}
        return by["job.paused"], by["message.redriven"], "by <b>operator</b>" in shown.text

    assert visit(scenario, access=TOKENS) == ("operator", "operator", True)


def test_an_instance_shows_its_neighbours_through_messages():
    async def scenario(visitor):
        page = await visitor.get(path_of("task/shipments/warehouse-1"))
        return re.findall(r'<li><span class="none">(\w+)</span> <a class="address"[^>]* title="([^"]*)"', page.text)

    assert set(visit(scenario)) == {("from", "task:orders:2026-0003"), ("from", "task:orders:2026-unlucky")}


# ---------------------------------------------------------------- who may do it
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("access", ["local", "owner_socket", TOKENS], ids=["local", "socket", "tokens"])
def test_a_form_of_another_site_is_refused_even_with_the_right_token(headers, access):
    async def scenario(visitor):
        if access == TOKENS:
            await signed_in(visitor, "operator")
        form = {"csrf": await visitor.token_of_forms(), "confirmed": "yes"}
        path = f"/dashboard{path_of(ORDER)}/request/terminate"
        return [(await visitor.http.post(path, data=form, headers=each)).status_code for each in (headers, OWN)]

    assert visit(scenario, access=access) == [403, 303]


@pytest.mark.parametrize("access", ["local", "owner_socket"])
def test_a_page_under_the_name_of_another_host_is_refused(access):
    async def scenario(visitor):
        return (await visitor.get(Host="evil.example")).status_code

    assert visit(scenario, access=access) == 403


def test_a_form_without_the_right_token_is_refused():
    async def scenario(visitor):
        path = f"{path_of(ORDER)}/request/terminate"
        return [
            (await visitor.post(path, {"confirmed": "yes"} | extra)).status_code for extra in ({}, {"csrf": "0" * 32})
        ]

    assert visit(scenario) == [403, 403]


def test_another_site_may_link_a_page_and_not_embed_or_read_it():
    async def scenario(visitor):
        cross = {"Sec-Fetch-Site": "cross-site"}
        kinds = ({"Sec-Fetch-Dest": "document"}, {"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Dest": "empty"})
        return [(await visitor.get("", **cross, **kind)).status_code for kind in kinds]

    assert visit(scenario) == [200, 403, 403]


def test_a_caller_signs_in_with_a_token_and_returns_to_its_page():
    async def scenario(visitor):
        asked = await visitor.get("/parked")
        wrong = await visitor.post("/login", fields_of((await visitor.get("/login")).text) | {"token": "x" * 40})
        answer = await signed_in(visitor, "operator", "/parked")
        cookie = answer.headers["set-cookie"]
        page = await visitor.get("/parked")
        left = await visitor.post("/logout", {"csrf": fields_of(page.text)["csrf"]})
        after = await visitor.get("/parked")
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/dashboard;" in cookie
        assert SECRETS["operator"] not in cookie
        statuses = [each.status_code for each in (asked, wrong, answer, page, left, after)]
        return asked.headers["location"], answer.headers["location"], statuses

    expected = "/dashboard/login?following=%2Fparked", "/dashboard/parked", [303, 403, 303, 200, 303, 303]
    assert visit(scenario, access=TOKENS) == expected


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(following):
    async def scenario(visitor):
        return (await signed_in(visitor, "reader", following)).headers["location"]

    assert visit(scenario, access=TOKENS).startswith("/dashboard")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_of_a_browser_that_uses_tls_stays_on_tls(scheme):
    async def scenario(visitor):
        form = fields_of((await visitor.get("/login")).text) | {"token": SECRETS["reader"]}
        origin = OWN | {"Origin": f"{scheme}://localhost"}  # a proxy in front ends TLS
        return (await visitor.http.post("/dashboard/login", data=form, headers=origin)).headers["set-cookie"]

    assert ("; Secure" in visit(scenario, access=TOKENS)) == (scheme == "https")


def test_an_unknown_caller_does_not_learn_the_name_of_the_store():
    async def scenario(visitor):
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        known = await visitor.get("/parked", **bearer("reader"))
        refused = await visitor.http.post("/dashboard/login", data={"token": "x"}, headers=other)
        return "memory://" in known.text, refused.status_code, "memory://" in refused.text

    assert visit(scenario, access=TOKENS) == (True, 403, False)


def test_the_cookie_opens_no_other_route():
    async def scenario(visitor):
        await signed_in(visitor, "operator")
        return [(await visitor.http.get(path)).status_code for path in ("/dashboard", "/v1/instances", "/dashboardx")]

    assert visit(scenario, access=TOKENS) == [200, 401, 401]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("reader", (0, 403, 403, 403)), ("caller", (1, 403, 200, 403)), ("operator", (3, 200, 200, 200))],
)
def test_a_page_offers_only_permitted_actions_and_others_are_refused(name, expected):
    async def scenario(visitor):
        await signed_in(visitor, name)
        page = await visitor.get(path_of(ORDER))
        offered = page.text.count('class="button ')
        requests = [await visitor.get(f"{path_of(ORDER)}/request/{action}") for action in ("pause", "trigger")]
        letters = await visitor.get("/dead-letters")
        return offered, *(each.status_code for each in requests), letters.status_code

    assert visit(scenario, access=TOKENS) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("reader", set()), ("caller", {"trigger", "flush", "cancel"}), ("operator", {*BULK, "redrive"})],
)
def test_no_page_has_a_form_that_is_refused_for_its_caller(name, expected):
    """Each form is sent as a browser sends it, with the first row that can be selected, once for each button."""

    async def scenario(visitor):
        await signed_in(visitor, name)
        refused, sent = [], set()
        for path in PAGES:
            page = (await visitor.get(path)).text
            for url, form in re.findall(
                r'<form[^>]*method="post"[^>]*action="/dashboard([^"]*)"[^>]*>(.*?)</form>', page, re.DOTALL
            ):
                if url in {"/logout", "/rehearsal"}:
                    continue
                row = dict(re.findall(r'<input type="checkbox" name="(\w+)" value="([^"]+)"', form)[:1])
                for action in re.findall(r'name="action" value="(\w+)"', form) or [url.rpartition("/")[2]]:
                    answer = await visitor.post(url, fields_of(form) | row | {"action": action})
                    if answer.status_code == 403:
                        refused.append((path, url, action))
                    sent.add(action)
        return refused, sent & {*BULK, "redrive"}

    assert visit(scenario, access=TOKENS) == ([], expected)


def test_no_page_is_read_without_a_token():
    async def scenario(visitor):
        answers = [await visitor.get(path) for path in (*PAGES, "/live?page=/", f"{path_of(ORDER)}/request/pause")]
        return {each.status_code for each in answers if "/login" in each.headers.get("location", "")}, answers[-2].text

    statuses, stream = visit(scenario, access=TOKENS)
    assert statuses == {303}
    assert "signed-out" in stream
    assert "orders" not in stream


def test_without_the_option_there_is_no_dashboard():
    async def scenario(visitor):
        return (await visitor.get()).status_code

    assert visit(scenario, dashboard=False) == 404


def test_a_number_that_no_store_has_is_not_valid():
    assert whole(str(2**63 - 1), "before") == 2**63 - 1
    for text in (str(2**63), "9" * 400, "-1", "\u0663", ""):
        with pytest.raises(InvalidArgument):
            whole(text, "before")


HOSTILE = [
    "",
    "x",
    "%00",
    "%ff",
    "-1",
    "9" * 19,
    "9" * 400,
    "%F0%9F%92%A3",
    "..",
    "%2e%2e%2f",
    "a:b:c",
    ":::",
    "\u2028",
    "%0d%0aX: y",
]


def test_no_path_and_no_query_breaks_the_server():
    async def scenario(visitor):
        urls = [
            url
            for each in HOSTILE
            for url in (
                f"/instances?after={each}&status={each}&kind={each}&job={each}&due={each}&id_prefix={each}",
                f"/instances?id_prefix={each}&id_prefix={each}",
                f"{path_of(ORDER)}?before={each}&secrets={each}&notice={each}",
                f"/jobs/task/orders/instances/{each}",
                f"/jobs/{each}/{each}/instances/{each}/request/{each}",
                f"/jobs/{each}/{each}",
                f"/parked?after={each}&format={each}",
                f"/dead-letters?after={each}",
                f"/static/{each}",
                f"/login?following={each}",
                f"/{each}",
            )
        ]
        return [url for url in urls if (await visitor.get(url)).status_code >= 500]

    assert visit(scenario) == []


@pytest.mark.parametrize("body", [b"\xff", b"csrf=%ff", b"&" * 5_000, b"a=1&" * 5_000, b"", b"{}"])
def test_no_body_breaks_the_server(body):
    async def scenario(visitor):
        paths = (
            "/bulk",
            "/login",
            "/logout",
            "/dead-letters/redrive",
            "/dead-letters/bury",
            f"{path_of(ORDER)}/explain",
        )
        answers = [await visitor.http.post(f"/dashboard{path}", content=body, headers=OWN) for path in paths]
        return [answer.status_code for answer in answers if answer.status_code >= 500]

    assert visit(scenario) == []


@pytest.mark.parametrize("path", ["", "/jobs/task/orders"])
@pytest.mark.parametrize(("age_ms", "note"), [(65_000, True), (0, False)])
def test_a_page_says_how_old_its_counts_are(path, age_ms, note):
    async def scenario(visitor):
        return (await visitor.get(path)).text

    assert ("Counted 1 min ago" in visit(scenario, age_ms=age_ms)) is note


def test_counts_say_that_they_are_partial_or_old():
    assert still_counting(True) is None
    assert still_counting(True, 999) is None
    assert "Counted 1 min ago" in str(still_counting(True, 65_000))
    assert "Partial" in str(still_counting(False, 65_000))


def test_the_page_of_a_job_lists_its_requests_once_with_and_without_ticks():
    async def scenario(visitor):
        pages = [(await visitor.get(f"/jobs/{job}")).text for job in ("task/orders", "continuous/exchange-rates")]
        return [(page.count("<h2>Requests</h2>"), page.count("<h2>Next ticks</h2>")) for page in pages]

    assert visit(scenario) == [(1, 0), (1, 1)]


def test_the_page_of_a_continuous_job_shows_how_its_last_run_ended():
    async def scenario(visitor):
        await visitor.api.client.handle(scene.rates).trigger("ecb")
        return (await visitor.get(path_of("continuous/exchange-rates/ecb"))).text

    page = visit(scenario)
    assert "last run ended" in page
    assert "succeeded" in page


def test_an_operator_forgets_an_idempotency_key():
    async def scenario(visitor):
        job = visitor.api.client.handle(scene.rates)
        page = path_of("continuous/exchange-rates/ecb")
        for _ in range(2):
            await job.trigger("ecb", idempotency_key="a key")
        form = {"csrf": await visitor.token_of_forms(page), "key": "a key"}
        asked = (await visitor.post(f"{page}/forget-key", form)).text
        before = (await job.status("ecb")).run_count
        done = [await visitor.post(f"{page}/forget-key", form | {"confirmed": "yes"}) for _ in range(2)]
        await job.trigger("ecb", idempotency_key="a key")
        events = [logged.event.type for logged in await visitor.api.client.history(scene.rates, "ecb")]
        return asked, [each.status_code for each in done], (await job.status("ecb")).run_count - before, events

    asked, codes, runs, events = visit(scenario)
    assert "perdure forget-key continuous:exchange-rates:ecb" in asked
    assert codes == [303, 303]
    assert runs == 1
    assert events.count("job.key_forgotten") == 1


def test_a_retry_is_due_at_its_time_unless_the_instance_is_paused():
    async def scenario(visitor):
        [retrying] = await visitor.api.client.list(status="retrying")
        at = retrying.address
        pages = []
        for action in ("pause", "resume"):
            await visitor.api.client.handle_by_name(at.kind, at.name).call(action, at.id)
            pages.append((await visitor.get(path_of(f"{at.kind}/{at.name}/{at.id}"))).text)
        return ["once it is resumed" in page for page in pages]

    assert visit(scenario) == [True, False]


@pytest.mark.parametrize("before", _PLACES)
@pytest.mark.parametrize("after", _PLACES)
def test_an_arrow_of_a_diagram_joins_the_edges_of_two_boxes(before, after):
    drawn = str(lifecycle_diagram([Step(before=before, after=after, count=1)]))
    boxes = [tuple(map(int, box)) for box in re.findall(r'x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', drawn)]
    [arrow] = re.findall(r'class="step"><path d="([^"]+)', drawn)
    x1, y1, *_, x2, y2 = (int(each) for each in re.findall(r"-?\d+", arrow))

    def middle_of(x, y):
        [middle] = [
            left + width // 2
            for left, top, width, height in boxes
            if left < x < left + width and y in {top, top + height}
        ]
        return middle

    from_, to = middle_of(x1, y1), middle_of(x2, y2)
    if y1 == y2 and before != after:  # side by side: as far from one middle as from the other, and between them
        assert (x1 - from_, abs(x2 - x1) < abs(to - from_)) == (to - x2, True)
    elif before != after:
        assert x1 - from_ == x2 - to != 0


def test_the_overview_lists_the_jobs_in_the_order_of_the_app():
    async def scenario(visitor):
        table = (await visitor.get("")).text.partition('id="by-job"')[2].partition("</table>")[0]
        return re.findall(r'scope="row"><a href="[^"]*/jobs/(\w+)/([\w-]+)"', table)

    assert visit(scenario) == list(scene.app.served)


def test_the_overview_shows_the_demand():
    async def scenario(visitor):
        demand = await visitor.api.client.demand()
        return demand.total, (await visitor.get("")).text

    total, page = visit(scenario)
    assert f"<b>{total}</b>" in page.partition("demand</span>")[0].rpartition("<a")[2]
