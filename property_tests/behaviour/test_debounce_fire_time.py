"""When a batch flushes: never later than ``flush_after`` after its first event, whatever comes."""

from pathlib import Path

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from world import HasOutside, Refused, World, play, say

from perdure import App, Debounce, DebounceContext, Do, program

FLUSH_AFTER_MS = 5_000


@frozen
class Letter:
    number: int


@program
def deliver(ctx: DebounceContext[Letter]) -> Do[None, Refused, HasOutside]:
    now = yield from ctx.now
    late_ms = (now - ctx.started_at).total_seconds() * 1_000
    yield from say(f"{ctx.event_count} {ctx.flush_reason} {late_ms:g}")


gaps_ms = st.lists(st.one_of(st.integers(0, 3_000), st.sampled_from([999, 1_000, 1_001, 5_000])), max_size=12)
options = st.fixed_dictionaries(
    {"inactivity": st.sampled_from([None, "1 s", "4 s 999 ms"]), "max_events": st.none() | st.integers(1, 6)}
)


def expected(gaps: list[int], inactivity_ms: int | None, max_events: int | None) -> list[str]:
    """The batches, by the words of the contract: a model of its own."""
    flushes: list[str] = []
    now_ms, first_ms, last_ms, count = 0, None, 0, 0

    def flush(at_ms: int, reason: str) -> None:
        nonlocal first_ms, count
        flushes.append(f"{count} {reason} {at_ms - first_ms:g}")
        first_ms, count = None, 0

    def let_pass(until_ms: int) -> None:
        if first_ms is None:
            return
        latest_ms = first_ms + FLUSH_AFTER_MS
        quiet_ms = latest_ms if inactivity_ms is None else last_ms + inactivity_ms
        if min(latest_ms, quiet_ms) <= until_ms:
            flush(min(latest_ms, quiet_ms), "inactivity" if quiet_ms < latest_ms else "flush_after")

    for gap_ms in gaps:
        let_pass(now_ms + gap_ms)
        now_ms = last_ms = now_ms + gap_ms
        first_ms = now_ms if first_ms is None else first_ms
        count += 1
        if count == max_events:
            flush(now_ms, "max_events")
    let_pass(now_ms + 60_000)
    return flushes


@given(gaps_ms, options)
@settings(max_examples=60)
def test_every_batch_flushes_when_the_contract_says(gaps, options):
    """`fire time ≤ first + flush_after, always`, with the reason, under any mix of the three timers."""
    job = Debounce("mailbag", event=Letter, flush_after="5 s", execute=deliver, **options)

    async def scenario(world: World) -> list[str]:
        jobs = (await world.open(App(world.outside).with_jobs(job))).handle(job)
        for number, gap_ms in enumerate(gaps):
            await world.advance(ms=gap_ms)
            await world.run(jobs.add("a", Letter(number)))
        await world.advance(s=60)
        return world.outside.heard

    heard = play("memory", Path(), scenario)
    inactivity_ms = {None: None, "1 s": 1_000, "4 s 999 ms": 4_999}[options["inactivity"]]
    assert all(float(word.split()[-1]) <= FLUSH_AFTER_MS for word in heard)
    assert heard == expected(gaps, inactivity_ms, options["max_events"])
