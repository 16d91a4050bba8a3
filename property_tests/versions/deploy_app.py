"""The app of the engines of a deploy in real processes: one of two versions, named by an environment variable.

``DEPLOY_AGE`` is ``old`` or ``new``; ``DEPLOY_EFFECTS`` names the file of the effects.
"""

from __future__ import annotations

import asyncio
import os
from binascii import crc32
from collections import Counter
from random import Random
from typing import Any

import orjson
from attrs import Factory, frozen
from type_pairs import INT, Field, Many, Named, OneOf, Record, Scalar
from versioned_jobs import KINDS, Code, Version

from perdure import App, Limits
from perdure.codecs import Codec

LINE = Record("Line", (Field("sku", Scalar(("str",))), Field("amount", INT, default=True)))
CARD, CASH = Record("Card", (Field("number", INT),)), Record("Cash", (Field("cents", INT),))
VOUCHER = Record("Voucher", (Field("code", INT),))


def _payload(line: Record, *payments: Record) -> Record:
    return Record(
        "Order", (Field("lines", Many(line, tuple)), Field("paid", OneOf(payments)), Field("notes", Named(INT)))
    )


OLD = Version(_payload(LINE, CARD, CASH))
NEW = Version(
    _payload(Record("Line", (*LINE.fields, Field("gift", Scalar(("bool",)), default=True))), CARD, CASH, VOUCHER),
    frozenset({"state field", "event class", "error field", "result field", "signal field", "answer field"}),
)
VERSIONS = {"old": OLD, "new": NEW}


def payload_of(code: Code, random: Random) -> Any:
    """Return a payload of a version."""
    newer = code.version is NEW
    extra = {"gift": random.random() < 0.5} if newer else {}
    line = {"sku": random.choice("xyz"), "amount": random.randrange(3), **extra}
    paid = random.choice(
        [{"type": "Card", "number": 1}, {"type": "Cash", "cents": 2}, {"type": "Voucher", "code": 3}][: 2 + newer]
    )
    order = {"lines": [line] * random.randrange(3), "paid": paid, "notes": {"n": random.randrange(3)}}
    return Codec.of(code.built.form, what="payload").decode(orjson.dumps(order))


@frozen
class Recorder:
    """An external system that notes each call in a file before it answers, and refuses some the first time.

    Attributes:
        file: the descriptor of the file.
        heard: how often this process was called for each work.
    """

    file: int
    heard: Counter[str] = Factory(Counter[str])

    async def hear(self, work: str, key: str) -> bool:
        """Do some work, and return whether it is done."""
        os.write(self.file, f"{work}\t{key}\n".encode())
        os.fsync(self.file)
        self.heard[work] += 1
        await asyncio.sleep(0.02)
        return self.heard[work] > 1 or crc32(work.encode()) % 5 > 0


def app() -> App[Any]:
    """Return the app of this process."""
    code = Code(VERSIONS[os.environ["DEPLOY_AGE"]])
    file = os.open(os.environ["DEPLOY_EFFECTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    jobs = [job for kind in KINDS for job in code.jobs(kind)]
    return App(Recorder(file), limits=Limits(shutdown_timeout="5 seconds")).with_jobs(*jobs)
