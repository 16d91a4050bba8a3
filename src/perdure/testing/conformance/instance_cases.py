"""Cases: instances, their fences, the queries over them, and idempotency keys."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.values import DuePosition, Query, Retention
from perdure.testing.conformance.assertions import failure, holds, same, value
from perdure.testing.conformance.harness import Case, in_store
from perdure.testing.conformance.histories import (
    CLAIM,
    ERROR,
    FAR_MS,
    LEFT,
    PENDING_RETRY,
    TRACE,
    address,
    created,
    instance,
    put,
    remembered,
    started,
    told,
)
from perdure.testing.conformance.requirements import (
    CLAIMED,
    COMPARES_FENCE,
    CONFLICT_LEAVES_NOTHING,
    COUNTS,
    COUNTS_ON,
    DUE,
    DUE_AFTER,
    DUE_ORDER,
    DURABLE,
    FENCED,
    FIND,
    HAS_WORK,
    KEY_EMPTIED,
    KEY_EXPIRES,
    KEYS_HELD,
    LEFT_TO,
    LOAD_TOGETHER,
    MONOTONIC,
    NEW_FENCE,
    NEW_KEYS,
    NEXT_ALARM,
    PRUNE,
    PRUNE_COUNTS,
    PURGE_OWN,
    PUT_VERSION,
    SEARCH,
    WORK,
    WORK_LIMIT,
)
from perdure.values.address import Address, Job
from perdure.values.errors import Conflict
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Loaded, NewKeys, Purge, Put, Transition

A = address("a")


@in_store(LOAD_TOGETHER)
async def an_absent_address_loads_as_nothing(store: Store) -> None:
    """What was never stored is no instance, no answer and no keys."""
    same(await value(load_one(store, A)), Loaded(), "an address that holds nothing loads as Loaded()")
    same(await value(load_one(store, A, "key", 0)), Loaded(), "a key that was never used has no remembered answer")


@in_store(DURABLE, LOAD_TOGETHER)
async def every_field_is_returned(store: Store) -> None:
    """An instance is loaded as it was committed, every field, any text."""
    odd = Address("task", "orders", "ünï:code '\"\U0001f600")
    full = Instance(
        address=odd,
        created_ms=1,
        updated_ms=FAR_MS,
        version=1,
        state='{"text":"\u2028é"}',
        state_version=3,
        data='{"d":1}',
        alarm_ms=0,
        suspension="recovery_exhausted",
        pending_retry=PENDING_RETRY,
        claim=CLAIM,
        event_claim=attrs.evolve(CLAIM, owner=2, created="here", message_id=5, message_sender="task:a:b"),
        run_count=4,
        event_count=5,
        last_error=attrs.evolve(ERROR, form="defect", traceback="Traceback"),
        alarm_trace=TRACE,
        ended_ms=8,
        suspended_ms=9,
        left=LEFT,
    )
    fence = await value(commit_one(store, Transition(address=odd, write=Put(full))))
    expected = attrs.evolve(full, incarnation=fence.incarnation)
    same((await value(load_one(store, odd))).instance, expected, "what was committed is what is loaded")


@in_store(NEW_FENCE, PUT_VERSION)
async def a_transition_answers_the_new_fence(store: Store) -> None:
    """The first commit is version 1, the next 2. The stored instance carries the fence that was answered."""
    first = await created(store, A)
    second = await value(commit_one(store, put(A, first)))
    same(second, Fence(first.incarnation, 2), "a Put answers the incarnation and one version more")
    loaded = (await value(load_one(store, A))).instance
    same(None if loaded is None else loaded.fence, second, "the loaded instance carries the fence that was answered")


@in_store(FENCED, COMPARES_FENCE, CONFLICT_LEAVES_NOTHING)
async def a_wrong_fence_is_a_conflict(store: Store) -> None:
    """A moved fence, a fence for nothing, and no fence where something is stored: all Conflict, nothing written."""
    first = await created(store, A)
    second = await value(commit_one(store, put(A, first, state='"kept"')))
    wrong = (None, first, Fence(second.incarnation, 3), Fence(second.incarnation + 1, 2))
    for expected in wrong:
        for write in (put(A, expected).write, Purge()):
            transition = Transition(address=A, expected=expected, write=write, events=(started(A),))
            await failure(commit_one(store, transition), Conflict, f"expected={expected} over {second} is a Conflict")
    loaded = (await value(load_one(store, A))).instance
    same(None if loaded is None else (loaded.fence, loaded.state), (second, '"kept"'), "a Conflict writes nothing")
    same(await value(store.history(A, None, 9)), (), "a Conflict logs nothing")


@in_store(PUT_VERSION, COMPARES_FENCE, DUE, FIND)
async def a_known_row_is_overwritten_as_an_unknown_one(store: Store) -> None:
    """A ``Put`` over the row that ``Transition.before`` names stores what one over an unknown row stores.

    A store may leave out the columns that do not change, and must not leave out others.
    """
    changes: tuple[dict[str, Any], ...] = (
        {"alarm_ms": 5},
        {"claim": CLAIM, "run_count": 1},
        {"claim": None, "state": '"other"', "alarm_ms": None, "last_error": ERROR},
        {"pending_retry": PENDING_RETRY},
        {"suspension": "paused"},
        {"event_claim": CLAIM, "data": '{"d":1}'},
        {"suspension": None, "state_version": 2},
        {"pending_retry": None, "event_claim": None, "event_count": 3},
        {"alarm_ms": 6, "left": LEFT, "suspended_ms": 4},
        {"left": None},
    )
    known, unknown = instance(A), instance(address("b"))
    fences = [await value(commit_one(store, _over(None, row))) for row in (known, unknown)]
    known = attrs.evolve(known, incarnation=fences[0].incarnation)
    for change in changes:
        before, stale = known, attrs.evolve(known, version=known.version + 1)
        known, unknown = attrs.evolve(known, **change), attrs.evolve(unknown, **change)
        over = attrs.evolve(_over(fences[0], known), before=before)
        wrong = attrs.evolve(_over(stale.fence, known), before=stale)
        await failure(commit_one(store, wrong), Conflict, "a row that the engine knows is no proof that it is stored")
        fences = [await value(commit_one(store, over)), await value(commit_one(store, _over(fences[1], unknown)))]
        rows = [(await value(load_one(store, row.address))).instance for row in (known, unknown)]
        shown = [None if row is None else attrs.evolve(row, address=A, incarnation=1) for row in rows]
        same(shown[0], shown[1], f"a known row is overwritten as an unknown one by {change}")
        due = _ids(await value(store.due(FAR_MS, 9)))
        same("a" in due, "b" in due, f"both are due, or neither, after {change}")
        found = _ids(await value(store.find(Query(status=known.status, limit=9))))
        same(found, ["a", "b"], f"both have the status {known.status} after {change}")
        known = attrs.evolve(known, version=known.version + 1)


@in_store(COMPARES_FENCE)
async def a_fence_belongs_to_one_address(store: Store) -> None:
    """Another address's right fence is a Conflict."""
    fence = await created(store, A)
    await failure(commit_one(store, put(address("b"), fence)), Conflict, "a fence is good for its own address only")


@in_store(MONOTONIC, FENCED, NEW_FENCE)
async def a_successor_is_another_incarnation(store: Store) -> None:
    """A purged instance cannot commit into its successor, and incarnations only grow."""
    old = await created(store, A)
    gone = await value(commit_one(store, Transition(address=A, expected=old, write=Purge())))
    same(gone, Fence(0, 0), "a Purge answers Fence(0, 0)")
    same(await value(load_one(store, A)), Loaded(), "a purged instance is gone")
    await failure(commit_one(store, put(A, old)), Conflict, "a fence of a purged instance is a Conflict")
    new = await created(store, A)
    holds(new.incarnation > old.incarnation, f"incarnations grow: {new} came after {old}")
    await failure(commit_one(store, put(A, old)), Conflict, "the old incarnation's fence does not fit its successor")


@in_store(PURGE_OWN, NEW_FENCE)
async def purging_nothing_is_allowed(store: Store) -> None:
    """A Purge that expects nothing, where nothing is, succeeds."""
    gone = await value(commit_one(store, Transition(address=A, write=Purge())))
    same(gone, Fence(0, 0), "a Purge of nothing, expecting nothing, answers Fence(0, 0)")


@in_store(NEW_FENCE, COMPARES_FENCE)
async def keeping_compares_no_fence(store: Store) -> None:
    """A transition that keeps the instance commits whatever the fence says, and leaves the instance alone."""
    fence = await created(store, A)
    answer = await value(commit_one(store, Transition(address=A, expected=Fence(99, 99), events=(started(A),))))
    same(answer, Fence(0, 0), "a Keep answers Fence(0, 0)")
    loaded = (await value(load_one(store, A))).instance
    same(None if loaded is None else loaded.fence, fence, "a Keep leaves the instance as it is")


@in_store(DUE)
async def due_returns_the_earliest_first(store: Store) -> None:
    """``due`` is ordered, bounded, includes its own instant, and returns complete rows."""
    for id_, alarm_ms in (("c", 30), ("a", 10), ("b", 20), ("never", None)):
        await created(store, address(id_), alarm_ms=alarm_ms)
    same(
        _ids(await value(store.due(20, 9))),
        ["a", "b"],
        "due(20) returns the instances due at or before 20, earliest first",
    )
    same(_ids(await value(store.due(FAR_MS, 2))), ["a", "b"], "due returns no more than its limit")
    (first,) = await value(store.due(10, 1))
    same(first, (await value(load_one(store, address("a")))).instance, "due returns the same rows as load")


@in_store(DUE, DUE_ORDER, DUE_AFTER)
async def due_continues_after_a_position(store: Store) -> None:
    """Due pages lose no instance when several share an instant, and continue after an instance that is gone."""
    fences = {
        id_: await created(store, address(id_), alarm_ms=alarm_ms)
        for id_, alarm_ms in (("late", 30), ("b", 20), ("a", 20), ("early", 10), ("c", 20))
    }
    order = ["early", "b", "a", "c", "late"]
    pages: list[str] = []
    after: DuePosition | None = None
    for size in (1, 2, 1, 2):
        page = await value(store.due(30, size, after))
        pages += _ids(page)
        after = (page[-1].due_ms or 0, page[-1].incarnation)
    same(pages, order, "pages of due instances, each after the last position of the one before")
    same(await value(store.due(FAR_MS, 9, after)), (), "nothing is due after the last position")
    gone = Transition(address=address("a"), expected=fences["a"], write=Purge())
    await value(commit_one(store, gone))
    for position, ids in (((10, 0), order[:2] + order[3:]), ((20, fences["a"].incarnation), ["c", "late"])):
        same(_ids(await value(store.due(30, 9, position))), ids, f"due after {position}, where no instance is")
    same(_ids(await value(store.due(20, 9, (20, fences["b"].incarnation)))), ["c"], "the rest of the instant")
    same(await value(store.due(20, 9, (30, 0))), (), "nothing is due between the instant and a later position")


@in_store(DUE, NEXT_ALARM)
async def due_follows_every_change(store: Store) -> None:
    """An alarm that moves, is held, retried or purged is found where it is now."""
    fence = await created(store, A, alarm_ms=10)
    moves = (
        (instance(A, alarm_ms=50), 50),
        (attrs.evolve(instance(A, alarm_ms=50), suspension="paused"), None),
        (attrs.evolve(instance(A, alarm_ms=50), pending_retry=PENDING_RETRY), PENDING_RETRY.at_ms),
        (instance(A, alarm_ms=None), None),
        (instance(A, alarm_ms=0), 0),
    )
    for after, due_ms in moves:
        fence = await value(commit_one(store, _over(fence, after)))
        same(await value(store.next_alarm(-1)), due_ms, f"next_alarm follows {after}")
        due = () if due_ms is None else await value(store.due(due_ms, 9))
        same(_ids(due), [] if due_ms is None else ["a"], f"due follows {after}")
    await value(commit_one(store, Transition(address=A, expected=fence, write=Purge())))
    same(await value(store.due(FAR_MS, 9)), (), "a purged instance is not due")


@in_store(NEXT_ALARM)
async def next_alarm_is_strictly_later(store: Store) -> None:
    """``next_alarm`` skips what is due at its own instant."""
    for id_, alarm_ms in (("a", 10), ("b", 20), ("c", 20)):
        await created(store, address(id_), alarm_ms=alarm_ms)
    found = [await value(store.next_alarm(after_ms)) for after_ms in (0, 9, 10, 19, 20)]
    same(found, [10, 10, 20, 20, None], "next_alarm is the earliest due instant strictly after the one given")


@in_store(CLAIMED)
async def claimed_returns_both_claims_by_incarnation(store: Store) -> None:
    """``claimed`` finds run claims and event claims, pages by incarnation, and forgets what was settled."""
    unclaimed = [instance(address(id_)) for id_ in ("run", "event", "none", "both")]
    run, event, none, both = unclaimed
    claims = (
        attrs.evolve(run, claim=CLAIM),
        attrs.evolve(event, event_claim=CLAIM),
        none,
        attrs.evolve(both, claim=CLAIM, event_claim=CLAIM),
    )
    fences = [await value(commit_one(store, _over(None, claimed))) for claimed in claims]
    first = await value(store.claimed(0, 2))
    same(_ids(first), ["run", "event"], "claimed returns what carries a claim, by incarnation, up to the limit")
    rest = await value(store.claimed(first[-1].incarnation, 9))
    same(_ids(rest), ["both"], "claimed continues after the incarnation")
    await value(commit_one(store, put(run.address, fences[0])))
    same(_ids(await value(store.claimed(0, 9))), ["event", "both"], "a settled claim is not found any more")


@in_store(LEFT_TO, CLAIMED, DUE, FIND)
async def instances_are_left_to_other_code(store: Store) -> None:
    """``left_to`` finds these jobs' instances that other code left. No other query finds their alarms and runs."""
    jobs = ("task", "orders"), ("task", "other\u00e9")
    own, others, both, job = (instance(address(id_), alarm_ms=5, claim=CLAIM) for id_ in ("own", "others", "both", "x"))
    job = attrs.evolve(job, address=Address(*jobs[1], "x"))
    marks = (("a",), ("b",), ("b", "a"), ("a",))
    rows = [
        attrs.evolve(row, left=attrs.evolve(LEFT, codes=codes))
        for row, codes in zip((own, others, both, job), marks, strict=True)
    ]
    fences = [await value(commit_one(store, _over(None, row))) for row in rows]
    found = await value(store.left_to({jobs[0]: "a", jobs[1]: "b"}, 9))
    same(sorted(_ids(found)), ["others", "x"], "left_to returns those that the code of the job did not leave")
    holds(found[0].left is not None, "left_to returns the mark")
    same(_ids(await value(store.left_to({jobs[0]: "a"}, 9))), ["others"], "of the jobs that are named")
    same(len(await value(store.left_to({jobs[0]: "c"}, 2))), 2, "left_to returns no more than its limit")
    same(await value(store.left_to({jobs[0]: "b", ("task", "none"): "b"}, 9)), (await _only(store, "own"),), "and rows")
    same(await value(store.due(FAR_MS, 9)), (), "a left instance is not due")
    same(await value(store.next_alarm(0)), None, "a left instance has no alarm")
    same(await value(store.claimed(0, 9)), (), "the runs of left instances are not claimed")
    same(len(await value(store.find(Query(status="left")))), 4, "find returns left instances")
    upgraded = attrs.evolve(rows[0], event_claim=attrs.evolve(CLAIM, cause="upgrade"))
    await value(commit_one(store, _over(fences[0], upgraded)))
    await value(commit_one(store, _over(fences[1], attrs.evolve(rows[1], left=None))))
    same(_ids(await value(store.claimed(0, 9))), ["own", "others"], "the claim of an upgrade is found")
    same(_ids(await value(store.due(FAR_MS, 9))), ["others"], "an instance that is not left any more is due")
    same(_ids(await value(store.left_to({jobs[0]: "a"}, 9))), [], "and left to no code")


async def _only(store: Store, id_: str) -> Instance | None:
    return (await value(load_one(store, address(id_)))).instance


@in_store(FIND)
async def find_meets_every_condition(store: Store) -> None:
    """``find`` filters by all its conditions together."""
    await value(commit_one(store, _over(None, instance(Address("task", "a", "x1"), alarm_ms=10))))
    await value(
        commit_one(store, _over(None, attrs.evolve(instance(Address("task", "b", "x2")), suspension="not_retryable")))
    )
    await value(commit_one(store, _over(None, instance(Address("continuous", "a", "y%_"), alarm_ms=30))))
    await value(
        commit_one(
            store, _over(None, attrs.evolve(instance(Address("task", "a", "y*"), alarm_ms=5), suspension="paused"))
        )
    )
    cases: tuple[tuple[Query, list[str]], ...] = (
        (Query(), ["y%_", "x1", "y*", "x2"]),
        (Query(kind="task"), ["x1", "y*", "x2"]),
        (Query(name="a"), ["y%_", "x1", "y*"]),
        (Query(id_prefix="y"), ["y%_", "y*"]),
        (Query(id_prefix="y%"), ["y%_"]),
        (Query(status="scheduled"), ["y%_", "x1"]),
        (Query(status="parked"), ["x2"]),
        (Query(status="paused"), ["y*"]),
        (Query(due_before_ms=30), ["x1"]),
        (Query(kind="task", name="a", id_prefix="x", status="scheduled", due_before_ms=11), ["x1"]),
        (Query(kind="none"), []),
        (Query(jobs=(("task", "b"), ("continuous", "a"), ("task", "none"))), ["y%_", "x2"]),
        (Query(jobs=(("task", "a"), ("task", "b")), name="a", status="scheduled"), ["x1"]),
        (Query(jobs=(("task", "a"), ("task", "b")), limit=2), ["x1", "y*"]),
        (Query(jobs=(("task", "a"), ("task", "b")), after=Address("task", "a", "x1")), ["y*", "x2"]),
        (Query(jobs=(("task", "a"), ("task", "b")), after=Address("task", "a", "z")), ["x2"]),
        (Query(jobs=()), []),
        (Query(except_jobs=(("task", "a"), ("task", "none"))), ["y%_", "x2"]),
        (Query(except_jobs=(("task", "a"), ("continuous", "b")), after=Address("continuous", "a", "y%_")), ["x2"]),
        (Query(except_jobs=(("task", "b"),), kind="task", status="paused"), ["y*"]),
        (Query(jobs=(("task", "a"), ("task", "b")), except_jobs=(("task", "a"),)), ["x2"]),
        (Query(except_jobs=(("task", "a"), ("task", "b"), ("continuous", "a"))), []),
    )
    for query, ids in cases:
        same(_ids(await value(store.find(query))), ids, f"find returns what meets {query}, in the order of addresses")


@in_store(COUNTS, COUNTS_ON)
async def counts_are_those_of_the_instances(store: Store) -> None:
    """Created, changed and purged instances: the counts agree with ``find``."""
    if store.counts is None:
        return
    a, b = await created(store, address("a")), await created(store, address("b", name="other"))
    c = await created(store, address("c"))
    paused = attrs.evolve(instance(address("a")), suspension="paused")
    await value(commit_one(store, _over(a, paused)))
    await value(commit_one(store, put(address("b", name="other"), b, alarm_ms=7)))
    await value(commit_one(store, Transition(address=address("c"), expected=c, write=Purge())))
    await failure(
        commit_one(store, Transition(address=address("a"), expected=a, write=Purge())), Conflict, "an old fence"
    )
    counted = await value(store.counts.instances())
    while not counted.complete:
        counted = await value(store.counts.instances())
    found = Counter((one.address.kind, one.address.name, one.status) for one in await value(store.find(Query())))
    expected = sorted((*place, number) for place, number in found.items())
    same([attrs.astuple(one) for one in counted.instances], expected, "counts agree with find")
    same(counted.oldest_due_ms, 7, "the earliest alarm")


@in_store(WORK, WORK_LIMIT)
async def the_work_of_jobs_is_that_of_the_rows(store: Store) -> None:
    """Queued, due, deliverable and claimed rows, under limits below, at and above their numbers."""
    if store.counts is None:
        return
    mine, other, absent = ("task", "orders"), ("task", "other"), ("task", "absent")
    rows: list[tuple[str, Instance]] = [
        *(("orders", instance(address(f"alarm{ms}"), alarm_ms=ms)) for ms in (3, 9)),
        ("orders", instance(address("late"), alarm_ms=20)),
        ("orders", instance(address("busy"), claim=CLAIM, alarm_ms=1)),
        ("orders", attrs.evolve(instance(address("event")), event_claim=CLAIM)),
        ("orders", attrs.evolve(instance(address("paused"), alarm_ms=1), suspension="paused")),
        ("orders", attrs.evolve(instance(address("retry")), pending_retry=PENDING_RETRY)),
        ("other", instance(address("soon", name="other"), alarm_ms=5)),
    ]
    if store.lanes is not None:
        rows += [
            ("orders", attrs.evolve(instance(address(f"item{n}"), alarm_ms=n), lane=lane))
            for n, lane in ((1, "a"), (2, "a"), (3, "b"))
        ]
    for _, one in rows:
        await value(commit_one(store, Transition(address=one.address, write=Put(one))))
    await told(store, address("busy"), address("new", name="absent"), "1", "2")
    await told(store, address("event"), address("new", name="absent"), "3")
    for until_ms in (2, 9, 90):
        for limit in (1, 2, 3, 5, 100):
            work = await value(store.counts.work((other, mine, absent), until_ms, limit))
            alarms = sorted((one.due_ms, name) for name, one in rows if one.due_ms is not None and one.owner is None)[
                :limit
            ]
            same([(one.kind, one.name) for one in work.jobs], [other, mine, absent], "the jobs, in their order")
            for job in work.jobs:
                due = [at_ms for at_ms, name in alarms if name == job.name]
                queued = sum(name == job.name and one.rank_ms is not None for name, one in rows)
                same(job.due, sum(at_ms <= until_ms for at_ms in due), f"due of {job} until {until_ms} of {limit}")
                same(job.next_alarm_ms, min(due, default=None), f"the next alarm of {job}, limit {limit}")
                same(job.queued, min(queued, limit), f"queued of {job}, limit {limit}")
                same(job.running, min(2, limit) if job.name == "orders" else 0, f"claimed of {job}, limit {limit}")
                same(job.messages, min(2, limit) if job.name == "absent" else 0, f"messages to {job}, limit {limit}")
            last = alarms[-1][0] if len(alarms) == limit else None
            same(work.alarms_to_ms, last, f"how far the alarms were read, limit {limit}")


async def _work_of(store: Store, job: Job) -> str:
    assert store.counts is not None  # noqa: S101 - a case that has it
    return "work" if await value(store.counts.has_work(job)) else "none"


@in_store(HAS_WORK)
async def a_job_has_work_until_its_instances_are_done_or_suspended(store: Store) -> None:
    """Each status, another job whose name begins alike, and messages to both."""
    if store.counts is None:
        return
    job, held = ("task", "orders"), attrs.evolve(instance(address("paused"), alarm_ms=1), suspension="paused")
    rows = [
        (held, False),
        (attrs.evolve(instance(address("parked")), suspension="retries_exhausted"), False),
        (attrs.evolve(instance(address("done")), ended_ms=5), False),
        (instance(address("other", name="orders2"), alarm_ms=1), False),
        (instance(address("idle")), True),
        (instance(address("alarm"), alarm_ms=2**40), True),
        (instance(address("busy"), claim=CLAIM), True),
        (attrs.evolve(instance(address("retry")), pending_retry=PENDING_RETRY), True),
        *(((attrs.evolve(instance(address("item"), alarm_ms=1), lane="a"), True),) if store.lanes is not None else ()),
    ]
    for one, wanted in rows:
        stored = await value(commit_one(store, Transition(address=one.address, write=Put(one))))
        same(await _work_of(store, job), "work" if wanted else "none", f"with {one.address}, {one.status}")
        if wanted:
            await value(commit_one(store, Transition(address=one.address, expected=stored, write=Purge())))
    same(await _work_of(store, job), "none", "without work")
    await told(store, address("parked"), address("new", name="orders2"), "1")
    same(await _work_of(store, job), "none", "with a message to another job")
    await told(store, address("done"), address("new"), "2")
    same(await _work_of(store, job), "work", "with a message to it")


@in_store(SEARCH)
async def searches_continue_where_they_stopped(store: Store) -> None:
    """However few instances a search may read, its continuations find what ``find`` finds."""
    for number, name in enumerate(["a", "b", "b", "b", "c"]):
        await created(store, address(f"i{number}", name=name))
    await value(commit_one(store, put(address("late", name="d"), alarm_ms=5)))
    for query in (Query(status="scheduled"), Query(id_prefix="i", limit=2), Query(jobs=(("task", "b"), ("task", "d")))):
        wanted = await value(store.find(attrs.evolve(query, limit=100)))
        stopped = await value(store.search(query, 1))
        found = stopped.instances
        while stopped.after is not None:
            stopped = await value(store.search(attrs.evolve(query, after=stopped.after), 1))
            found += stopped.instances
        same(_ids(found), _ids(wanted), f"searches of {query} together find the same")


@in_store(FIND)
async def find_pages_in_the_order_of_addresses(store: Store) -> None:
    """Following ``after`` returns every instance once."""
    ids = ["", "A", "a", "aa", "b", "é", "\uffff", "\U0001f600"]
    for id_ in reversed(ids):
        await created(store, address(f"i{id_}"))
    found: list[str] = []
    after = None
    for _ in ids:  # more pages than there are
        page = await value(store.find(Query(after=after, limit=3)))
        found += _ids(page)
        after = page[-1].address if page else after
    same(found, [f"i{id_}" for id_ in ids], "pages follow the order of addresses, by code point, without gap or repeat")


def _ids(found: tuple[Instance, ...]) -> list[str]:
    return [one.address.id for one in found]


def _over(expected: Fence | None, after: Instance) -> Transition:
    version = 1 if expected is None else expected.version + 1
    return Transition(address=after.address, expected=expected, write=Put(attrs.evolve(after, version=version)))


INSTANCE_CASES: tuple[Case, ...] = (
    an_absent_address_loads_as_nothing,
    every_field_is_returned,
    a_transition_answers_the_new_fence,
    a_wrong_fence_is_a_conflict,
    a_known_row_is_overwritten_as_an_unknown_one,
    a_fence_belongs_to_one_address,
    a_successor_is_another_incarnation,
    purging_nothing_is_allowed,
    keeping_compares_no_fence,
    due_returns_the_earliest_first,
    due_continues_after_a_position,
    due_follows_every_change,
    next_alarm_is_strictly_later,
    claimed_returns_both_claims_by_incarnation,
    instances_are_left_to_other_code,
    find_meets_every_condition,
    counts_are_those_of_the_instances,
    the_work_of_jobs_is_that_of_the_rows,
    a_job_has_work_until_its_instances_are_done_or_suspended,
    searches_continue_where_they_stopped,
    find_pages_in_the_order_of_addresses,
)
KEEP_EVENTS = {"events_since_ms": 0, "max_events": 1_000}


@in_store(LOAD_TOGETHER)
async def a_key_is_remembered_with_its_transition(store: Store) -> None:
    """One read returns the answer with the instance. Another key and another address do not have it."""
    kept = remembered("k", '{"ünï":1}')
    await value(commit_one(store, Transition(address=A, write=put(A).write, remember=(kept,))))
    loaded = await value(load_one(store, A, "k", 0))
    same((loaded.remembered, loaded.keys_held), (kept, 1), "load returns the remembered answer of the key")
    same(loaded.instance, (await value(load_one(store, A))).instance, "load returns the instance along with the key")
    other = await value(load_one(store, A, "K", 0))
    same((other.remembered, other.keys_held), (None, 1), "another key has no answer, and the address's keys count")
    same(await value(load_one(store, address("b"), "k", 0)), Loaded(), "a key belongs to its address")


@in_store(KEY_EXPIRES)
async def a_key_expires(store: Store) -> None:
    """A key is there before its instant, and not from it on."""
    await value(commit_one(store, Transition(address=A, remember=(remembered("k", expires_ms=100),))))
    found = [await value(load_one(store, A, "k", now_ms)) for now_ms in (99, 100)]
    same([one.remembered is not None for one in found], [True, False], "an expired key has no answer")


@in_store(KEY_EXPIRES)
async def a_key_is_replaced(store: Store) -> None:
    """The same key again replaces the first."""
    await value(commit_one(store, Transition(address=A, remember=(remembered("k", '"old"', expires_ms=50),))))
    await value(commit_one(store, Transition(address=A, remember=(remembered("k", '"new"', expires_ms=100),))))
    await value(store.prune(Retention(now_ms=60, **KEEP_EVENTS)))
    loaded = await value(load_one(store, A, "k", 60))
    same(loaded.remembered, remembered("k", '"new"', expires_ms=100), "a key keeps the newest answer and expiry")
    same(loaded.keys_held, 1, "a replaced key counts once")


@in_store(KEYS_HELD, KEY_EMPTIED)
async def old_keys_lose_their_answers(store: Store) -> None:
    """An address's newest keys, by first use, keep their answers. The others stay without one."""
    for number in range(5):
        kept = attrs.evolve(remembered(f"k{number}", f"{number}"), full_answers=2)
        await value(commit_one(store, Transition(address=A, remember=(kept,))))
        await value(commit_one(store, Transition(address=address(f"b{number}"), remember=(kept,))))
    again = attrs.evolve(remembered("k3", '"again"'), full_answers=2)
    await value(commit_one(store, Transition(address=A, remember=(again,))))
    failed = attrs.evolve(remembered("k5", ""), failures=3, full_answers=2)
    await value(commit_one(store, Transition(address=A, remember=(failed,))))
    loaded = [await value(load_one(store, A, f"k{number}", 0)) for number in range(6)]
    answers = [None if one.remembered is None else one.remembered.answer for one in loaded]
    same(answers, ["", "", "", "", "4", ""], "the newest keys keep their answers, the others are remembered without")
    same([one.keys_held for one in loaded], [6] * 6, "keys without answers count")
    same([one.remembered and one.remembered.failures for one in loaded], [0, 0, 0, 0, 0, 3], "failures are kept")
    apart = await value(load_one(store, address("b0"), "k0", 0))
    same(apart.remembered and apart.remembered.answer, "0", "the keys of other addresses count apart")


@in_store(LOAD_TOGETHER)
async def a_key_outlives_its_instance(store: Store) -> None:
    """A purge leaves the address's keys."""
    fence = await created(store, A)
    purge = Transition(address=A, expected=fence, write=Purge(), remember=(remembered("k"),))
    await value(commit_one(store, purge))
    same(
        await value(load_one(store, A, "k", 0)),
        Loaded(remembered=remembered("k"), keys_held=1),
        "keys survive the purge",
    )


@in_store(CONFLICT_LEAVES_NOTHING)
async def a_conflict_remembers_nothing(store: Store) -> None:
    """A transition that was refused leaves no key."""
    await created(store, A)
    refused = Transition(address=A, write=put(A).write, remember=(remembered("k"),))
    await failure(commit_one(store, refused), Conflict, "a Put that expects nothing over something is a Conflict")
    same((await value(load_one(store, A, "k", 0))).remembered, None, "a Conflict remembers no key")


@in_store(NEW_KEYS, CONFLICT_LEAVES_NOTHING)
async def a_known_key_is_a_conflict(store: Store) -> None:
    """A transition whose keys must be new conflicts with its address's stored key, until that expires."""
    await value(commit_one(store, Transition(address=A, remember=(remembered("k", expires_ms=100),))))
    fence = await created(store, A)
    new = {known: NewKeys(("l", known), 99) for known in ("k", "m")}
    for write in (put(A, fence), Transition(address=A, expected=fence, write=Purge()), Transition(address=A)):
        for stored in ((remembered("l"),), (remembered("l"), remembered("k"))):
            refused = attrs.evolve(write, remember=stored, new_keys=new["k"])
            await failure(commit_one(store, refused), Conflict, "a key that must be new and is known is a Conflict")
    same((await value(load_one(store, A, "l", 0))).remembered, None, "a Conflict remembers no key")
    await value(
        commit_one(store, attrs.evolve(put(A, fence), remember=(remembered("m"), remembered("l")), new_keys=new["m"]))
    )
    found = [(await value(load_one(store, A, key, 0))).remembered for key in ("l", "m")]
    same(found, [remembered("l"), remembered("m")], "keys that are new are stored, all of them")
    await value(commit_one(store, Transition(address=A, new_keys=NewKeys(("k",), 100))))
    await value(commit_one(store, Transition(address=address("b"), new_keys=NewKeys(("k",), 0))))


@in_store(PRUNE, PRUNE_COUNTS)
async def pruning_removes_expired_keys(store: Store) -> None:
    """``prune`` removes expired keys only, up to its limit, and counts them."""
    for number in range(5):
        kept = remembered(f"k{number}", expires_ms=10 + number)
        await value(commit_one(store, Transition(address=address(f"{number % 2}"), remember=(kept,))))
    counts = [await value(store.prune(Retention(now_ms=13, limit=3, **KEEP_EVENTS))) for _ in range(3)]
    same(counts, [3, 1, 0], "prune removes expired keys, no more than its limit, and says how many")
    same((await value(load_one(store, address("0"), "k4", 0))).keys_held, 1, "a key that is not expired stays")
    same((await value(load_one(store, address("1"), "k3", 0))).keys_held, 0, "a pruned key is gone")
    same(await value(store.prune(Retention(now_ms=FAR_MS, **KEEP_EVENTS))), 1, "what expired later goes later")


KEY_CASES: tuple[Case, ...] = (
    a_key_is_remembered_with_its_transition,
    a_key_expires,
    a_key_is_replaced,
    old_keys_lose_their_answers,
    a_key_outlives_its_instance,
    a_conflict_remembers_nothing,
    a_known_key_is_a_conflict,
    pruning_removes_expired_keys,
)
