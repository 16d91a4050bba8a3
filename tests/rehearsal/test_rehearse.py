"""A rehearsal names each difference that new code would make for the instances of a store, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Success
from two_versions import MISTAKES, Begin, Hook, Mistake, job, ledger, shop

from perdure import App
from perdure.rehearsal import (
    FromJson,
    Image,
    NoAnswers,
    Rehearsal,
    RehearsalOptions,
    ServiceAnswers,
    TooManyActs,
    futures_of,
    read_image,
    rehearse,
)
from perdure.rehearsal.image import chosen_from
from perdure.stores.at_rest import open_reader
from perdure.stores.encryption import Encryption, Key
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.transfer import copy_store, open_copy_source, open_copy_target
from perdure.testing import World
from perdure.values.address import Address
from perdure.values.errors import DefinitionError

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
        return read_image(reader)


def rehearsed(image: Image, mistake: Mistake, *, seed: int = 0, fail: Any = FAULTS, **options: Any) -> Rehearsal:
    return rehearse(
        shop(mistake),
        against=shop(),
        image=image,
        options=RehearsalOptions(lasting="22 days", seed=seed, **options),
        answers=ServiceAnswers(fail=fail),
    )


@pytest.mark.parametrize("mistake", MISTAKES[1:])
def test_each_mistake_is_one_readable_difference(image: Image, mistake: Mistake) -> None:
    found = rehearsed(image, mistake).difference
    by_job = {group.job: group for group in found.groups}
    wanted, sentence = SENTENCES[mistake]
    assert sentence in by_job[wanted].sentence
    # The message to the ledger is a consequence, and a group of its own.
    assert by_job.keys() - {"task:ledger"} == {wanted}


SEEDS = 1_000 if settings.get_current_profile_name() == "nightly" else 2


@settings(max_examples=SEEDS)
@given(seed=st.integers(0, 2**32))
def test_equal_code_has_equal_futures(image: Image, seed: int) -> None:
    found = rehearsed(image, "none", seed=seed)
    assert found.is_equal
    assert found.difference.equal >= len(image.instances)
    assert sum(found.used.values()) > 100


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
            found = read_image(reader)
    finally:
        asyncio.run(harness.discard())
    assert attrs.evolve(found, epoch=image.epoch) == image


def test_an_image_survives_its_way_to_another_process(image: Image) -> None:
    assert Image.from_json(image.to_json()) == image


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
