"""The shop with a payment provider that does not answer, until ``SHOP_ANSWERS`` is set."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from attrs import evolve, frozen
from returns.result import Result
from web_shop.jobs import orders
from web_shop.services import CallFile, FilePayments, PaymentError, Providers, open_providers

from perdure import App


@frozen
class HesitantPayments(FilePayments):
    """Hangs, as a provider whose network is down does."""

    async def charge(self, key: str, card: str, cents: int) -> Result[str, PaymentError]:
        if not os.environ.get("SHOP_ANSWERS"):
            await asyncio.Event().wait()
        return await super().charge(key, card, cents)


@asynccontextmanager
async def open_hesitant() -> AsyncGenerator[Providers]:
    async with open_providers() as providers:
        calls: CallFile = providers.payments.calls
        yield evolve(providers, payments=HesitantPayments(calls))


app = App(open_hesitant).with_jobs(orders)
