"""A summary of the instances: the worker's answer to ``InspectStore``."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import cast

from perdure.cli.demo.protocol import InstanceRow, JobCounts, JobName, Seen
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import engine_of
from perdure.examples.order_processor import Order
from perdure.examples.receipts import Receipt
from perdure.examples.token_refresher import TokenState
from perdure.examples.webhook_batcher import Batch
from perdure.values.listings import Listed

PAGE = 1_000
LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def summarize(jobs: Client, number: int, rows: int) -> Seen:
    """Count all instances, and list those of each job that changed last.

    Args:
        jobs: the client of the open engine.
        number: the number of the command.
        rows: the number of instances to list of each job.
    """
    found = await _all(jobs)
    counts: list[JobCounts] = []
    shown: list[InstanceRow] = []
    for _, name in engine_of(jobs).jobs:
        own = [listed for listed in found if listed.address.name == name]
        counts.append(JobCounts(cast("JobName", name), dict(Counter(str(listed.status) for listed in own))))
        newest = sorted(own, key=_changed_at, reverse=True)[:rows]
        shown += [await _row(jobs, listed) for listed in sorted(newest, key=_address)]
    return Seen(number, tuple(counts), tuple(shown))


async def _all(jobs: Client) -> list[Listed]:
    found: list[Listed] = []
    while True:
        after = found[-1].address if found else None
        page = await jobs.list(after=after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found


async def _row(jobs: Client, listed: Listed) -> InstanceRow:
    address, report = listed.address, listed.report
    definition = engine_of(jobs).jobs[address.kind, address.name]
    state: object = await gateway_of(jobs).state(definition, address.id)
    due = report.next_run_at
    return InstanceRow(
        job=cast("JobName", address.name),
        id=address.id,
        state=_in_words(state),
        status=str(listed.status),
        due_in_ms=None if due is None else round((due - datetime.now(UTC)).total_seconds() * 1000),
        attempt=report.attempt,
        count=report.run_count if address.kind == "continuous" else report.event_count,
    )


def _in_words(state: object) -> str:
    match state:
        case Batch(events):
            return f"{len(events)} collected"
        case Order(status="pending", amount=amount, paid=paid):
            return f"pending, {paid / 100:.2f} of {amount / 100:.2f}"
        case Order(status=words) | Receipt(customer=words) | str(words):
            return words
        case TokenState(access_token=token):
            return token or "no token yet"
        case _:
            return ""


def _changed_at(listed: Listed) -> datetime:
    return listed.report.updated_at or LONG_AGO


def _address(listed: Listed) -> str:
    return str(listed.address)
