"""The errors of a debounce and of a pool are those of their hooks; `retry_if` sees those of the retried hook alone."""

from __future__ import annotations

from typing import Never, Protocol, assert_type

import attrs

from perdure import Backoff, Debounce, DebounceContext, ItemContext, Program, Retry, WorkerPool
from perdure.values.status import Defect


@attrs.frozen
class A:
    a: int


@attrs.frozen
class B:
    b: int


class Has(Protocol):
    @property
    def service(self) -> int: ...


def event_a(ctx: DebounceContext[int], event: str) -> Program[None, A, Has]:
    raise NotImplementedError


def event_never(ctx: DebounceContext[int], event: str) -> Program[None]:
    raise NotImplementedError


def text_a(ctx: DebounceContext[str], event: str) -> Program[None, A, Has]:
    raise NotImplementedError


def text_b(ctx: DebounceContext[str]) -> Program[None, B, Has]:
    raise NotImplementedError


def flush_b(ctx: DebounceContext[int]) -> Program[None, B, Has]:
    raise NotImplementedError


def flush_never(ctx: DebounceContext[int]) -> Program[None]:
    raise NotImplementedError


def work_b(ctx: ItemContext[int]) -> Program[str, B, Has]:
    raise NotImplementedError


def work_never(ctx: ItemContext[int]) -> Program[str]:
    raise NotImplementedError


def dead_a(ctx: ItemContext[int], error: B | Defect) -> Program[None, A, Has]:
    raise NotImplementedError


def dead_never(ctx: ItemContext[int], error: object) -> Program[None]:
    raise NotImplementedError


def if_b(error: B) -> bool:
    raise NotImplementedError


def if_ab(error: A | B) -> bool:
    raise NotImplementedError


def if_any(error: object) -> bool:
    raise NotImplementedError


every = Retry(3, Backoff.constant("1 s"))
of_b = Retry(3, Backoff.constant("1 s"), retry_if=if_b)
of_ab = Retry(3, Backoff.constant("1 s"), retry_if=if_ab)
of_any = Retry(3, Backoff.constant("1 s"), retry_if=if_any)

assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_b),
    Debounce[int, str, A | B, Has],
)
assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_b, retry=every),
    Debounce[int, str, A | B, Has],
)
assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_b, retry=of_b),
    Debounce[int, str, A | B, Has],
)
assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_b, retry=of_ab),
    Debounce[int, str, A | B, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_b, retry=of_any
    ),
    Debounce[int, str, A | B, Has],
)
assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_never),
    Debounce[int, str, A, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_never, retry=every
    ),
    Debounce[int, str, A, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_a, execute=flush_never, retry=of_any
    ),
    Debounce[int, str, A, Has],
)
assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_never, execute=flush_b),
    Debounce[int, str, B, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_never, execute=flush_b, retry=every
    ),
    Debounce[int, str, B, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_never, execute=flush_b, retry=of_b
    ),
    Debounce[int, str, B, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_never, execute=flush_b, retry=of_ab
    ),
    Debounce[int, str, B, Has],
)
assert_type(
    Debounce(
        "job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_never, execute=flush_b, retry=of_any
    ),
    Debounce[int, str, B, Has],
)
assert_type(
    Debounce("job", event=str, state=int, initial=0, flush_after="1 s", on_event=event_never, execute=flush_never),
    Debounce[int, str, Never, object],
)
assert_type(
    Debounce(
        "job",
        event=str,
        state=int,
        initial=0,
        flush_after="1 s",
        on_event=event_never,
        execute=flush_never,
        retry=every,
    ),
    Debounce[int, str, Never, object],
)
assert_type(
    Debounce(
        "job",
        event=str,
        state=int,
        initial=0,
        flush_after="1 s",
        on_event=event_never,
        execute=flush_never,
        retry=of_any,
    ),
    Debounce[int, str, Never, object],
)
assert_type(WorkerPool("job", item=int, work=work_b), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, retry=every), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, retry=of_b), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, retry=of_ab), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, retry=of_any), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_a), WorkerPool[int, str, B | A, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_a, retry=every), WorkerPool[int, str, B | A, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_a, retry=of_b), WorkerPool[int, str, B | A, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_a, retry=of_ab), WorkerPool[int, str, B | A, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_a, retry=of_any), WorkerPool[int, str, B | A, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_never), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_never, retry=every), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_never, retry=of_b), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_never, retry=of_ab), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_b, on_error=dead_never, retry=of_any), WorkerPool[int, str, B, Has])
assert_type(WorkerPool("job", item=int, work=work_never, on_error=dead_never), WorkerPool[int, str, Never, object])
assert_type(WorkerPool("job", item=int, work=work_never, retry=every), WorkerPool[int, str, Never, object])
assert_type(
    Debounce("job", event=str, flush_after="1 s", on_event=text_a, execute=text_b), Debounce[str, str, A | B, Has]
)
assert_type(Debounce("job", event=str, flush_after="1 s", execute=text_b), Debounce[str, str, B, Has])
assert_type(
    Debounce("job", event=str, flush_after="1 s", on_event=text_a, execute=text_b, retry=every),
    Debounce[str, str, A | B, Has],
)
assert_type(Debounce("job", event=str, flush_after="1 s", execute=text_b, retry=every), Debounce[str, str, B, Has])
assert_type(
    Debounce("job", event=str, flush_after="1 s", on_event=text_a, execute=text_b, retry=of_b),
    Debounce[str, str, A | B, Has],
)
assert_type(Debounce("job", event=str, flush_after="1 s", execute=text_b, retry=of_b), Debounce[str, str, B, Has])
assert_type(
    Debounce("job", event=str, flush_after="1 s", on_event=text_a, execute=text_b, retry=of_any),
    Debounce[str, str, A | B, Has],
)
assert_type(Debounce("job", event=str, flush_after="1 s", execute=text_b, retry=of_any), Debounce[str, str, B, Has])
