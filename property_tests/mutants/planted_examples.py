"""Bugs in the jobs of the documentation."""

from mutant import Mutant

ORDER = "examples/test_order_laws.py::test_an_order_lives_by_its_rules"
REFRESH = "examples/test_token_laws.py::test_a_token_is_fresh_until_it_is_revoked"
WEBHOOK = "examples/test_webhook_laws.py::test_every_webhook_arrives_once_and_in_order"

MUTANTS = (
    Mutant(
        "an order is paid a cent short",
        "decide_order",
        "if paid < order.amount:",
        "if paid < order.amount - 1:",
        ORDER,
    ),
    Mutant(
        "the exact price is not enough",
        "decide_order",
        "if paid < order.amount:",
        "if paid <= order.amount:",
        ORDER,
    ),
    Mutant(
        "an order waits for its money for ever",
        "decide_order",
        "Decision(placed, Alarm.after(patience.payment))",
        "Decision(placed, Alarm.keep)",
        ORDER,
    ),
    Mutant(
        "a second payment replaces the first",
        "decide_order",
        "paid = order.paid + amount",
        "paid = amount",
        ORDER,
    ),
    Mutant(
        "a paid order expires all the same",
        "decide_order",
        'status="paid"), Alarm.clear',
        'status="paid"), Alarm.keep',
        ORDER,
    ),
    Mutant(
        "customers receive one question about a parcel",
        "on_order_alarm",
        "            yield from ctx.schedule(after=patience.parcel)\n",
        "",
        "tests/examples/test_jobs.py::test_an_order_goes_its_way[memory]",
    ),
    Mutant(
        "all mails of an order have one id",
        "on_order_event",
        "yield from send_mail(ctx.run_id, decision.state.owner",
        "yield from send_mail(ctx.id, decision.state.owner",
        ORDER,
    ),
    Mutant(
        "an outage is not waited out",
        "is_transient",
        "return isinstance(error, AuthDown)",
        "return isinstance(error, AuthRevoked)",
        REFRESH,
    ),
    Mutant(
        "a fresh token keeps its old end",
        "refreshed",
        ", expires_at=token.expires_at)",
        ")",
        REFRESH,
    ),
    Mutant(
        "a revoked token is tried for ever",
        "refresh_token",
        '            yield from ctx.terminate("revoked")\n',
        "",
        REFRESH,
    ),
    Mutant(
        "webhooks arrive backwards",
        "collect",
        "Batch((*batch.events, event))",
        "Batch((event, *batch.events))",
        WEBHOOK,
    ),
    Mutant(
        "every batch has the id of its contact",
        "flush",
        "push(ctx.run_id,",
        "push(ctx.id,",
        WEBHOOK,
    ),
    Mutant(
        "a batch is given up one attempt early",
        "webhook_batcher",
        "max_attempts=5",
        "max_attempts=4",
        WEBHOOK,
    ),
    Mutant(
        "a batch is too large",
        "webhook_batcher",
        "max_events=100",
        "max_events=101",
        WEBHOOK,
    ),
)
