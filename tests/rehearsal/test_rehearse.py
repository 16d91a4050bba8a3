"""A rehearsal names each difference that new code would make for the instances of a store, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Success
from two_versions import MISTAKES, Begin, Hook, Mistake, job, ledger, shop

from perdure import App
from perdure.dashboard.timeline import RehearsalResult, rehearsal_picture, rehearsal_report
from perdure.rehearsal import (
    Arrivals,
    FromJson,
    Image,
    NoAnswers,
    NoArrivals,
    PastRequest,
    Rehearsal,
    RehearsalOptions,
    ServiceAnswers,
    TooManyActs,
    drawn,
    futures_of,
    meeting,
    read_image,
    rehearse,
    repeated,
)
from perdure.rehearsal.arrivals import NO_ARRIVALS
from perdure.rehearsal.difference import Comparison, cause_of, first_difference
from perdure.rehearsal.future import Act, InstanceFuture
from perdure.rehearsal.image import DAY_MS, chosen_from
from perdure.stores.at_rest import open_reader
from perdure.stores.encryption import Encryption, Key
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.transfer import copy_store, open_copy_source, open_copy_target
from perdure.testing import World
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidArgument

FAULTS = {"charge": 0.2, "fetch": 0.1, "mail": 0.05}
SENTENCES: dict[Mistake, tuple[str, str]] = {
    "interval": ("continuous:feed", "fetch every 1.5 d instead of 2 d"),
    "forgotten": ("task:subscription", "stops: no alarm is set any more, and charge does not come"),
    "doubled": ("task:subscription", "charge happens twice with the same arguments"),
    "diverging": ("workflow:trial", "is left to other code (Diverged) at once"),
    "branch": ("task:subscription", "mail is missing, after charge"),
    "retry": ("task:subscription", "a failed charge is retried after"),
    "told": ("task:subscription", "message send to task:ledger has other arguments"),
    "amount": ("continuous:feed", "fetch has other arguments"),
    "ended": ("task:subscription", "end is new, after message send to task:ledger"),
    "parks": ("task:subscription", "is parked (retries_exhausted, Declined) after charge"),
    "state": ("task:subscription", "only the last state differs"),
    "earlier": ("task:subscription", "charge comes 3 d earlier"),
    "refused": ("task:subscription", "a request is refused (send, Rejected)"),
    "late": ("debounce:hooks", "mail comes 10 min to 20 min later"),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with instances of every kind, some of them half a day old."""
    path, app = tmp_path_factory.mktemp("shop") / "jobs.db", shop()
    with World(app, store=path) as world:
        subscription, feed, trial, hooks, thumbs = (
            world.handle(job(app, name)) for name in ("subscription", "feed", "trial", "hooks", "thumbs")
        )
        for n in range(6):
            world.run(subscription.send(f"s{n}", Begin(100 * (n + 6))))
            world.run(trial.start(f"t{n}", f"t{n}@example.com"))
            world.run(feed.start(f"f{n}", 0))
            world.advance("47 minutes")
        for n in range(3):
            world.run(hooks.add(f"h{n}", Hook(n)))
            world.run(thumbs.put(f"p{n}", f"image {n}", after=f"{n + 1} hours"))
        world.advance("11 minutes")
    return path


@pytest.fixture(scope="module")
def image(stored: Path) -> Image:
    with open_reader(f"sqlite:///{stored}") as reader:
        return read_image(reader, history="7 days")


def rehearsed(
    image: Image,
    mistake: Mistake,
    *,
    seed: int = 0,
    fail: Any = FAULTS,
    arrivals: Arrivals = NO_ARRIVALS,
    latency_ms: int = 0,
    lasting: str = "22 days",
    **options: Any,
) -> Rehearsal:
    return rehearse(
        shop(mistake),
        against=shop(),
        image=image,
        options=RehearsalOptions(lasting=lasting, seed=seed, **options),
        answers=ServiceAnswers(fail=fail, latency_ms=latency_ms),
        arrivals=arrivals,
    )


FROM_OUTSIDE: tuple[Mistake, ...] = ("earlier", "refused")


NIGHTLY = settings.get_current_profile_name() == "nightly"
SEEDS, PORTION = (1_000, 50) if NIGHTLY else (2, 2)
SEEDS_OF_A_MISTAKE = 70 if NIGHTLY else 1


@pytest.mark.parametrize("mistake", [one for one in MISTAKES[1:] if one != "late"])
def test_each_mistake_is_one_readable_difference(image: Image, mistake: Mistake) -> None:
    # A mistake in an event's handler shows with the requests that the history repeats.
    arrivals = repeated(shop(), image, 12 * DAY_MS, most=8) if mistake in FROM_OUTSIDE else NO_ARRIVALS
    # Without a failed charge, the retry of one is no difference.
    fail = FAULTS if mistake not in ("retry", "parks") or not NIGHTLY else FAULTS | {"charge": 0.6}
    for seed in range(SEEDS_OF_A_MISTAKE):
        groups = rehearsed(image, mistake, seed=seed, arrivals=arrivals, fail=fail).difference.groups
        wanted, sentence = SENTENCES[mistake]
        own = [group.sentence for group in groups if group.job == wanted]
        assert len(own) == 1, (seed, own)
        assert sentence in own[0], seed
        assert mistake != "refused" or len(groups) == 1
        # The message to the ledger is a consequence, and a group of its own.
        assert {group.job for group in groups} - {"task:ledger"} == {wanted}, seed


def test_a_run_that_waits_for_another_one_is_late(image: Image) -> None:
    (group,) = rehearsed(image, "late", fail={}, latency_ms=600_000).difference.groups
    assert (group.job, group.number, group.sentence) == ("debounce:hooks", 2, SENTENCES["late"][1])


@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_equal_code_has_equal_futures(image: Image, first: int) -> None:
    """The nightly profile tries 1,000 seeds, in portions that can run apart: ``test_equal_...[150]`` begins at 150."""
    arrivals = repeated(shop(), image, 9 * DAY_MS, most=4)
    for seed in range(first, first + PORTION):
        found = rehearsed(image, "none", seed=seed, arrivals=arrivals, lasting="9 days")
        assert found.is_equal, seed
        assert found.difference.equal == len(image.instances) + len(arrivals.requests)
        assert sum(found.used.values()) > 30


def test_a_change_of_one_instance_does_not_change_the_luck_of_others(image: Image) -> None:
    old, new = (
        futures_of(shop(mistake), image, lasting=timedelta(days=15), answers=ServiceAnswers(fail=FAULTS))
        for mistake in ("none", "branch")
    )
    differ = {address for address in old.of if old.of[address] != new.of[address]}
    assert {address.name for address in differ} <= {"subscription", "ledger"}
    assert {address.id for address in differ if address.name == "subscription"} == {"s4", "s5"}


def test_the_same_seed_prints_the_same_text(image: Image) -> None:
    one, other, another = ([*rehearsed(image, "retry", seed=seed, sample=2).lines()] for seed in (7, 7, 8))
    assert one == other
    assert one != another


def test_the_store_is_only_read(stored: Path) -> None:
    before = hashlib.sha256(stored.read_bytes()).hexdigest()
    with open_reader(f"sqlite:///{stored}") as reader:
        rehearsed(read_image(reader, matches=lambda address: address.id == "s5"), "doubled")
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == before


async def send_encrypted(url: str, keys: Encryption) -> None:
    app = App(None, encryption=keys).with_jobs(*shop().served.values())
    async with app.open(url) as jobs:
        await jobs.handle(job(app, "subscription")).send("s", Begin(1_000))


def test_an_encrypted_store_is_rehearsed_with_its_keys(tmp_path: Path) -> None:
    url, keys = f"sqlite:///{tmp_path}/jobs.db", Encryption(primary=Key("1", b"k" * 64))
    asyncio.run(send_encrypted(url, keys))
    with open_reader(url) as reader:
        image = read_image(reader, records=RecordCipher(keys))
    assert image.instances[Address("task", "subscription", "s")][0].state.startswith('{"cents":1000')
    found = rehearsed(image, "doubled", fail={})
    assert SENTENCES["doubled"][1] in [group.sentence for group in found.difference.groups]


def copied(source: str, target: str) -> None:
    async def copy() -> None:
        one, other = await open_copy_source(source), await open_copy_target(target)
        try:
            await copy_store(one, other, lambda _phase, _done, _rows: None)
        finally:
            await one.close()
            await other.close()

    asyncio.run(copy())


def test_an_image_of_postgresql_is_that_of_a_file(stored: Path, image: Image, postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url)
    try:
        copied(f"sqlite:///{stored}", harness.url)
        with open_reader(harness.url) as reader:
            found = read_image(reader, history="7 days")
    finally:
        asyncio.run(harness.discard())
    assert attrs.evolve(found, epoch=image.epoch) == image


def test_an_image_survives_its_way_to_another_process(image: Image) -> None:
    """Without its history: requests have their own way."""
    assert Image.from_json(image.to_json()) == attrs.evolve(image, history=(), covers_ms=0)
    arrivals = Arrivals(requests=image.history)
    assert Arrivals.from_json(arrivals.to_json()) == arrivals


def test_a_sample_says_over_how_many_it_counts(image: Image) -> None:
    found = rehearsed(image, "doubled", fail={}, sample=1, runs=1)
    text = "\n".join(found.lines())
    assert len(found.chosen.deep) < len(image.instances)
    assert f"rehearsed {len(found.chosen.deep)} of {len(image.instances)} instances to the end" in text
    (group,) = (each for each in found.difference.groups if each.job == "task:subscription")
    deep = {address.id for address in found.chosen.deep if address.name == "subscription"}
    assert (group.number, group.shallow) == (2, len({"s4", "s5"} - deep))
    assert (group.more["charge"] > 0) == bool({"s4", "s5"} & deep)


def test_others_are_left_out_on_request(image: Image) -> None:
    found = rehearsed(image, "none", fail={}, sample=1, runs=0)
    assert found.chosen.shallow == frozenset()
    assert found.difference.equal < len(image.instances)


def test_a_message_brings_its_target_into_the_rehearsal(stored: Path, tmp_path: Path) -> None:
    """An instance of the store that was not chosen is rehearsed once a message reaches it, with its stored state."""
    app, path = shop(), tmp_path / "jobs.db"
    with World(app, store=path) as world:
        world.run(world.handle(job(app, "subscription")).send("s", Begin(500)))
        world.advance("8 days")
        assert world.run(world.handle(job(app, "ledger")).get_state("all")) == 500
    with open_reader(f"sqlite:///{path}") as reader:
        whole = read_image(reader)
    part = whole.with_only([Address("task", "subscription", "s")])
    future = futures_of(app, part, lasting=timedelta(days=8), answers=ServiceAnswers())
    assert future.reached == {Address("task", "ledger", "all")}
    found = rehearse(
        app, against=app, image=whole, options=RehearsalOptions(lasting="8 days", sample=1), answers=ServiceAnswers()
    )
    assert found.left_out == 0
    assert Address("task", "ledger", "all") in found.chosen.deep


def test_effects_without_an_answer_are_refused_with_the_whole_list(image: Image) -> None:
    app = shop()
    with pytest.raises(NoAnswers) as refused:
        rehearse(
            app,
            against=app,
            image=image,
            options=RehearsalOptions(lasting="8 days"),
            answers=ServiceAnswers(given={"charge": FromJson('{"not": "text"}')}),
        )
    assert [*refused.value.reasons] == ["charge"]


def test_the_result_names_the_effects_that_types_alone_answer(image: Image) -> None:
    app = shop()
    given = {"fetch": Success(3), "mail": FromJson("null")}
    found = rehearse(
        app, against=app, image=image, options=RehearsalOptions(lasting="9 days"), answers=ServiceAnswers(given=given)
    )
    assert "answered by type alone, always the same: charge" in [*found.lines()]
    # Mail was recorded in journals, and is given here.
    assert found.data()["answered"]["mail"].keys() == {"given"}


def test_the_result_names_answers_that_nothing_asks_for(image: Image) -> None:
    """A misspelt effect would say that the new code survives its failures."""
    found = rehearsed(image, "none", fail={"chrage": 0.5, "charge": 0.0}, lasting="9 days")
    assert found.not_called == ("chrage",)
    assert "called by neither version: chrage" in [*found.lines()]
    assert found.data()["not_called"] == ["chrage"]


def test_recorded_outcomes_come_before_types(image: Image) -> None:
    found = rehearsed(image, "none", fail={})
    assert found.data()["answered"]["mail"].keys() == {"recorded"}


def test_secrets_are_not_shown(image: Image) -> None:
    found = rehearsed(image, "forgotten", fail={})
    text = "\n".join(found.lines()) + str(found.data())
    assert "4000-1234" not in text
    assert "last state" in text


def test_a_message_to_a_job_that_the_app_does_not_have_shows_no_payload(image: Image) -> None:
    future = futures_of(shop().without(ledger), image, lasting=timedelta(days=8), answers=ServiceAnswers())
    shown = {act.shown for each in future.of.values() for act in each.acts if act.what == "message"}
    assert shown == {"all"}


@pytest.mark.parametrize("most", [1, 20])
def test_futures_that_do_not_fit_into_memory_are_refused(image: Image, most: int) -> None:
    with pytest.raises(TooManyActs, match=f"more than {most}"):
        futures_of(shop(), image, lasting=timedelta(days=9), answers=ServiceAnswers(), most=most)


@pytest.mark.parametrize("most", [1, 5, 1_000])
def test_an_image_keeps_no_more_instances_than_its_limit(stored: Path, most: int) -> None:
    with open_reader(f"sqlite:///{stored}") as reader:
        found = read_image(reader, most=most)
        again = read_image(reader, most=most)
    assert len(found.instances) == min(most, found.total)
    assert found == again


# ---------------------------------------------------------------- pictures
def test_the_result_is_a_page_and_a_picture_without_secrets(image: Image) -> None:
    """The page reads the output of the command, and its file needs nothing from elsewhere."""
    found = rehearsed(image, "doubled", fail={})
    result = RehearsalResult.from_json(orjson.dumps(found.data()).decode())
    assert [(one.sentence, one.instances) for one in result.groups] == [
        (one.sentence, one.number) for one in found.difference.groups
    ]
    report = rehearsal_report(result, "main { color: red }")
    picture = rehearsal_picture(result, result.groups[0])
    for text in (report, picture):
        assert "charge happens twice with the same arguments" in text
        assert "4000-1234" not in text
        assert re.findall(r'(?:src|href)="|url\(|@import|<script', text) == []
    assert report.startswith("<!doctype html>")
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - made here
    # The example charges once more in each of its runs, and so does the other instance.
    assert picture.count('class="new"') == result.groups[0].more["charge"] / result.groups[0].instances
    assert picture.count('class="old"') == 0


def test_the_result_of_equal_code_is_a_page_too(image: Image) -> None:
    found = rehearsed(image, "none", fail={})
    report = rehearsal_report(RehearsalResult.from_json(orjson.dumps(found.data()).decode()), "")
    assert "0 of 24 instances have another future" in report


# ---------------------------------------------------------------- requests from outside
def test_the_history_repeats_requests_until_the_end(image: Image) -> None:
    """Each of six requests arrives again in each period of the history. The instances are new: they came with it."""
    assert [each.address.id for each in image.history] == [f"s{n}" for n in range(6)]
    found = repeated(shop(), image, 3 * image.covers_ms)
    assert [each.address.id for each in found.requests] == [f"s{n}~{again}" for again in (1, 2, 3) for n in range(6)]
    spans = [each.at_ms - first.at_ms for first, each in zip(found.requests, found.requests[6:], strict=False)]
    assert {*spans} == {image.covers_ms}
    assert found.requests[0].at_ms == image.at_ms
    some = repeated(shop(), image, 3 * image.covers_ms, most=7)
    assert (some.total, len(some.requests)) == (18, 7)
    assert {*some.requests} <= {*found.requests}


def test_an_older_instance_gets_its_requests_under_its_own_id(stored: Path) -> None:
    with open_reader(f"sqlite:///{stored}") as reader:
        late = read_image(reader, history="2 hours")
    assert [each.address.id for each in late.history] == ["s4", "s5"]
    begun = min(each.created_ms for each, _ in late.instances.values())
    request = PastRequest(late.at_ms - 5, Address("task", "subscription", "s0"), "send", '{"cents":7}')
    old = attrs.evolve(late, history=(request,), covers_ms=late.at_ms - begun - 1)
    (arrived,) = repeated(shop(), old, old.covers_ms).requests
    assert arrived == attrs.evolve(request, at_ms=old.at_ms + old.covers_ms - 5)


def test_requests_are_acts_of_their_instances(image: Image) -> None:
    arrivals = repeated(shop(), image, DAY_MS, most=3)
    found = rehearsed(image, "none", arrivals=arrivals)
    assert found.is_equal
    assert found.difference.equal == len(image.instances) + 3
    future = futures_of(
        shop(), image, lasting=timedelta(days=9), answers=ServiceAnswers(), arrivals=arrivals.requests
    ).of[arrivals.requests[0].address]
    assert [act.what for act in future.acts][:2] == ["request", "effect"]
    assert '"card":"<secret>"' in future.acts[0].shown
    assert "arrivals: 3 of 31 requests to 3 instances, repeated from 4.7 h of history" in [*found.lines()]


def test_a_history_without_inputs_is_refused_with_a_hint(image: Image) -> None:
    blind = attrs.evolve(image, history=tuple(attrs.evolve(each, payload=None) for each in image.history))
    with pytest.raises(NoArrivals, match=r"without their input .task:subscription 6.*accepted_in_events='payload'"):
        repeated(shop(), blind, DAY_MS)
    with pytest.raises(NoArrivals, match="has no requests"):
        repeated(shop(), attrs.evolve(image, history=()), DAY_MS)
    partly = attrs.evolve(blind, history=(*blind.history[1:], image.history[0]))
    text = "\n".join(repeated(shop(), partly, DAY_MS).notes())
    assert "task:subscription: 5 requests left out, the history does not keep their input" in text


def test_drawn_requests_depend_on_the_seed_alone(image: Image) -> None:
    per_day = {"task:subscription": 4, "workflow:trial": 1.5}
    one, other, another = (drawn(shop(), image, 4 * DAY_MS, per_day=per_day, seed=seed) for seed in (7, 7, 8))
    assert one == other != another
    assert Counter(each.address.name for each in one.requests) == {"subscription": 16, "trial": 6}
    assert {each.action for each in one.requests} > {"send"}
    assert [*one.requests] == sorted(one.requests, key=lambda each: each.at_ms)
    found = rehearsed(image, "none", arrivals=one)
    assert found.is_equal
    assert "drawn" in "\n".join(found.lines())


def test_own_strategies_draw_inputs(image: Image) -> None:
    only = {"task:subscription.send": st.just(Begin(7))}
    found = drawn(shop(), image, DAY_MS, per_day={"task:subscription": 5}, strategies=only)
    assert {each.payload for each in found.requests} == {'{"cents":7,"card":"4000-1234"}'}
    with pytest.raises(DefinitionError, match="a job of the app"):
        drawn(shop(), image, DAY_MS, per_day={"task:nothing": 5})
    with pytest.raises(DefinitionError, match="a number above 0"):
        drawn(shop(), image, DAY_MS, per_day={"task:subscription": 0})
    with pytest.raises(DefinitionError, match=r"kind:name\.action"):
        drawn(shop(), image, DAY_MS, per_day={"task:subscription": 1}, strategies={"task:nothing.send": st.just(1)})


@pytest.mark.parametrize("most", [0, 1, 8, 1_000])
def test_no_more_requests_arrive_than_the_limit_and_the_result_says_so(image: Image, most: int) -> None:
    for found in (
        drawn(shop(), image, DAY_MS, per_day={"task:subscription": 8}, most=most),
        repeated(shop(), image, DAY_MS, most=most),
    ):
        assert len(found.requests) <= most
        cut = f"  at most {most:,} arrive, all or none of an instance: pass --most for more"
        assert (cut in [*found.notes()]) == (len(found.requests) < found.total) == (most < found.total)


@pytest.mark.parametrize("most", [-1, 1_000_001])
def test_a_limit_out_of_its_range_is_refused(image: Image, most: int) -> None:
    with pytest.raises(DefinitionError, match="0 to 1,000,000"):
        repeated(shop(), image, DAY_MS, most=most)
    with pytest.raises(DefinitionError, match="0 to 1,000,000"):
        drawn(shop(), image, DAY_MS, per_day={"task:subscription": 8}, most=most)


@pytest.mark.parametrize("most", [1, 5, 6, 7])
def test_no_more_requests_are_read_than_the_limit_and_the_result_says_so(stored: Path, most: int) -> None:
    with open_reader(f"sqlite:///{stored}") as reader:
        found = read_image(reader, history="7 days", most_requests=most)
    assert (len(found.history), found.unread) == (min(most, 6), max(0, 6 - most))
    notes = [*repeated(shop(), found, DAY_MS).notes()]
    unread = f"  {found.unread} more requests in the history were not read: choose instances, or a shorter time"
    assert (unread in notes) == (most < 6)


def test_requests_of_an_encrypted_history_are_repeated(tmp_path: Path) -> None:
    url, keys = f"sqlite:///{tmp_path}/jobs.db", Encryption(primary=Key("1", b"k" * 64))
    asyncio.run(send_encrypted(url, keys))
    with open_reader(url) as reader:
        found = read_image(reader, records=RecordCipher(keys), history="1 day")
    assert [each.payload for each in found.history] == ['{"cents":1000,"card":"<secret>"}']


# ---------------------------------------------------------------- filters
def test_conditions_choose_instances_by_their_attributes(stored: Path) -> None:
    with open_reader(f"sqlite:///{stored}") as reader:
        meets = meeting(shop(), "task:subscription", ["cents>700", "cents<=900"])
        found = read_image(reader, meets=meets, history="7 days")
    assert sorted(each.id for each in found.instances) == ["s2", "s3"]
    assert (found.total, found.stored) == (2, 24)
    # A request to an instance that the filter left out does not bring it back.
    assert sorted(each.address.id for each in found.history) == ["s2", "s3"]
    text = "\n".join(rehearsed(found, "none", fail={}).lines())
    assert "the filter chose 2 of 24 instances in the store" in text
    with pytest.raises(InvalidArgument, match="an attribute of task:subscription: cents"):
        meeting(shop(), "task:subscription", ["euros>7"])
    with pytest.raises(InvalidArgument, match="a job of the app"):
        meeting(shop(), "task:nothing", ["cents>7"])


def test_a_filter_chooses_instances(stored: Path) -> None:
    with open_reader(f"sqlite:///{stored}") as reader:
        found = read_image(reader, matches=lambda address: address.name == "feed")
    assert (found.total, {address.name for address in found.instances}) == (6, {"feed"})


@given(sample=st.none() | st.integers(1, 8), seed=st.integers(0, 99), rest=st.booleans())
def test_a_sample_takes_as_many_of_each_class_as_there_are(
    image: Image,
    sample: int | None,
    seed: int,
    rest: bool,  # noqa: FBT001 - drawn
) -> None:
    chosen = chosen_from(image, sample=sample, seed=seed, rest=rest)
    assert chosen.deep.isdisjoint(chosen.shallow)
    assert {*chosen} == (image.instances.keys() if rest else chosen.deep)
    if sample is None or sample >= len(image.instances):
        assert chosen.deep == image.instances.keys()


@pytest.mark.parametrize("bad", [{"fail": {"charge": 1.01}}, {"fail": {"charge": -0.1}}, {"latency_ms": -1}])
def test_bad_answers_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        ServiceAnswers(**bad)
    with pytest.raises(DefinitionError, match="JSON"):
        FromJson("{")
    with pytest.raises(DefinitionError):
        RehearsalOptions(lasting="0 ms")


def acts(*texts: str, run: int = 1) -> list[Act]:
    """Return acts at one instant: ``charge 2`` is the effect in the second attempt of a run."""
    found: list[Act] = []
    for text in texts:
        name, _, attempt = text.partition(" ")
        number = int(attempt or 1)
        if name == "send":
            found.append(Act(1_000 * number, "message", name, "{}", "", run=run))
        elif name == "declined":
            found.append(Act(1_000 * number, "parked", name, "", "", run=run))
        else:
            found.append(Act(1_000 * number, "effect", name, "{}", "", number, run))
    return found


@pytest.mark.parametrize(
    ("old", "new", "kind", "act"),
    [
        # The mail that the new code leaves out fails under the old code, which comes to the message in a retry.
        (acts("charge", "mail", "charge 2", "mail 2", "send"), acts("charge", "send"), "missing", "mail"),
        (acts("charge", "send"), acts("charge", "mail", "charge 2", "mail 2", "send"), "added", "mail"),
        (acts("charge", "mail", "charge 2", "mail 2", "send 2"), acts("charge", "send"), "missing", "mail"),
        # The message of the next run says nothing about this one.
        (acts("charge", "mail") + acts("send", run=2), acts("charge", "send"), "instead", "message send"),
        (acts("charge", "mail"), acts("charge", "charge", "mail"), "twice", "charge"),
        # A retry is not a second call.
        (acts("charge", "mail"), acts("charge", "charge 2", "mail"), "added", "charge"),
    ],
)
def test_a_cause_is_looked_for_in_the_whole_run(old: list[Act], new: list[Act], kind: str, act: str) -> None:
    at = first_difference(old, new)
    assert at is not None
    cause = cause_of(old, new, at)
    assert (cause.kind, cause.act) == (kind, act)


def test_a_park_is_one_difference_wherever_the_run_fails() -> None:
    found = Comparison(0)
    places = ("charge", "mail", "mail", "fetch", "label")
    for number, place in enumerate(places):
        old, new = acts(place, f"{place} 2"), acts(place, "declined")
        found.add(Address("task", "shop", f"s{number}"), InstanceFuture(tuple(old)), InstanceFuture(tuple(new)))
    (group,) = found.groups
    assert group.number == len(places)
    assert group.sentence == "is parked (declined) after mail or after charge or after fetch or elsewhere"


def test_groups_of_a_job_never_have_the_same_sentence() -> None:
    """The places before the first difference are not causes."""
    found = Comparison(0)
    for number, place in enumerate(("charge", "mail")):
        (sent,) = acts("send")
        old, new = (*acts(place), sent), (*acts(place), attrs.evolve(sent, given="other"))
        found.add(Address("task", "shop", f"s{number}"), InstanceFuture(old), InstanceFuture(new))
    assert [(each.number, each.sentence) for each in found.groups] == [(2, "message send has other arguments")]


@pytest.mark.parametrize(
    ("hours", "request_between", "kind"), [(17, 0, "interval"), (16, 0, "moved"), (17, 1, "moved")]
)
def test_an_act_that_moves_has_another_interval_if_no_request_began_it(
    hours: int, request_between: int, kind: str
) -> None:
    def at(hour: int) -> Act:
        return Act(hour * 3_600_000, "effect", "mail", "{}", "")

    before = [at(0), *[attrs.evolve(at(10), what="request")] * request_between]
    old, new = [*before, at(7 * 24)], [*before, at(7 * 24 + hours)]
    assert cause_of(old, new, len(before)).kind == kind
