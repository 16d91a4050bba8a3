"""A worker of the demo that loses an event: it reports to the job a complete batch, and hands over less."""

import sys
from random import Random

import attrs
from returns.future import FutureResult

from perdure.cli.demo.schedule import Timing
from perdure.cli.demo.services import DemoServices, DemoSink, open_services
from perdure.cli.demo.worker import main
from perdure.examples.webhook_batcher import SinkFull, Webhook

FORGOTTEN = "evt_forgotten"


@attrs.frozen
class ForgetfulSink(DemoSink):
    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        return super().push(batch_id, tuple(event for event in events if event.event_id != FORGOTTEN))


def open_forgetful(store: str, timing: Timing, random: Random) -> DemoServices:
    services = open_services(store, timing, random)
    return attrs.evolve(services, sink=ForgetfulSink(services.sink.counterpart))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], open_forgetful))
