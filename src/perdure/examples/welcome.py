"""A workflow that welcomes a customer: three mails, with a pause between them."""

from __future__ import annotations

from functools import partial

from perdure import Backoff, Do, Retry, Workflow, WorkflowContext, program, step_key
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.programs import sleep
from perdure.values.times import Duration

MAILS = ("welcome", "first steps", "questions?")


def welcome_text(customer: str, mail: str) -> str:
    """Return the text of a mail."""
    return f"{mail}, {customer}"


@program
def greet(
    ctx: WorkflowContext[str], pause: Duration = "1 day"
) -> Do[int, MailBounced, HasMailer]:
    """Send the mails. Each is a step: a crash repeats none that is recorded."""
    customer = yield from ctx.state
    for mail in MAILS:
        key = yield from step_key()
        address = f"{customer}@example.com"
        yield from send_mail(key, address, welcome_text(customer, mail))
        yield from sleep(pause)
    return len(MAILS)


def welcome_with(
    pause: Duration = "1 day", retry_delay: Duration = "1 minute"
) -> Workflow[str, int, MailBounced, HasMailer]:
    """Define the workflow."""
    return Workflow(
        "welcome",
        state=str,
        run=partial(greet, pause=pause),
        result=int,
        errors=MailBounced,
        retry_defects=Retry(max_attempts=3, delay=Backoff.constant(retry_delay)),
        keep="1 day",
    )


welcome = welcome_with()
