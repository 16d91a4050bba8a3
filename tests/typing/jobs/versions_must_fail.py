"""Chains of versions that do not fit together."""

from __future__ import annotations

from attrs import frozen

from perdure import (
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Migrations,
    Program,
    Task,
    TaskContext,
    every,
    succeed,
)


@frozen
class V1:
    n: int


@frozen
class V2:
    n: int


@frozen
class V3:
    n: int


def to_v2(old: V1) -> V2:
    return V2(old.n)


def to_v3(old: V2) -> V3:
    return V3(old.n)


def on_event(ctx: TaskContext[V3], event: str) -> Program[None]:
    return succeed(None)


def execute(ctx: ContinuousContext[V3]) -> Program[None]:
    return succeed(None)


def flush(ctx: DebounceContext[V3]) -> Program[None]:
    return succeed(None)


def two(old: V1, more: V1) -> V2:
    return V2(old.n + more.n)


short = Migrations(V1).then(to_v2)

# ---------------------------------------------------------------- an upcaster does not fit its neighbour
Migrations(V1).then(to_v3)  # error: mypy, pyright
Migrations(V1).then(to_v2).then(to_v2)  # error: mypy, pyright
Migrations(V2).then(to_v2)  # error: mypy, pyright
Migrations(V1 | V2).then(to_v2)  # error: mypy, pyright
Migrations(V1).then(two)  # error: mypy, pyright
Migrations(V1).then(V1(1))  # error: mypy, pyright

# ---------------------------------------------------------------- the last version is not the state
Task("t", state=V3, versions=short, event=str, initial=V3(1), on_event=on_event)  # error: mypy, pyright
Continuous("c", state=V3, versions=short, schedule=every("5s"), execute=execute)  # error: mypy, pyright
Debounce("d", event=V3, versions=short, flush_after="1s", execute=flush)  # error: mypy, pyright
Continuous("c", state=V3, versions=(V1, to_v2), schedule=every("5s"), execute=execute)  # error: mypy, pyright
