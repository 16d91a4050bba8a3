"""The inferred types of chains of versions, without any plugin."""

from __future__ import annotations

from typing import Any, Never, TypeAlias, assert_type

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
class Open:
    n: int


@frozen
class Closed:
    n: int


V3: TypeAlias = Open | Closed


def to_v2(old: V1) -> V2:
    return V2(old.n)


def to_v3(old: V2) -> V3:
    return Open(old.n)


def of_either(old: V1 | V2) -> V2:
    return V2(old.n)


chain = Migrations(V1).then(to_v2).then(to_v3)
assert_type(Migrations(V1), Migrations[V1])
assert_type(Migrations(V1).then(to_v2), Migrations[V2])
assert_type(chain, Migrations[Open | Closed])
assert_type(Migrations(V1).then(of_either), Migrations[V2])
assert_type(Migrations(V1 | V2).then(of_either), Migrations[V2])
assert_type(Migrations(V2, number=2).then(to_v3), Migrations[Open | Closed])


def on_event(ctx: TaskContext[V3], event: str) -> Program[None]:
    return succeed(None)


def execute(ctx: ContinuousContext[V3]) -> Program[None]:
    return succeed(None)


def flush(ctx: DebounceContext[V2]) -> Program[None]:
    return succeed(None)


def take(ctx: DebounceContext[V2], event: str) -> Program[None]:
    return succeed(None)


task = Task("t", state=V3, versions=chain, event=str, initial=Open(1), on_event=on_event)
assert_type(task, Task[Open | Closed, str, Never, object])
continuous = Continuous("c", state=V3, versions=chain, schedule=every("5s"), execute=execute)
assert_type(continuous, Continuous[Open | Closed, Never, object])
debounce = Debounce("d", event=V2, versions=Migrations(V1).then(to_v2), flush_after="1s", execute=flush)
assert_type(debounce, Debounce[V2, V2, Never, object])
folding = Debounce(
    "f",
    event=str,
    state=V2,
    initial=V2(0),
    versions=Migrations(V1).then(to_v2),
    flush_after="1s",
    on_event=take,
    execute=flush,
)
assert_type(folding, Debounce[V2, str, Never, object])


def any_of(versions: Migrations[Any]) -> None:
    """A chain whose types are not known is taken."""
    Task("t", state=V3, versions=versions, event=str, initial=Open(1), on_event=on_event)
