"""The proof is a pure comparison: the acknowledged events against those of the services."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.demo.proof import Account, Deliveries, Evidence, prove
from perdure.cli.demo.protocol import Accepted, Refusal
from perdure.cli.demo.services import AlreadyApplied, Called, Entry, Journal, JournalReader, ServiceRefused, Taken
from perdure.examples.incoming import Incoming, IncomingOrder, IncomingWebhook
from perdure.examples.order_processor import PaymentReceived, notice

ids = st.text("abcdef", min_size=1, max_size=3)
webhooks = ids.map(lambda id_: IncomingWebhook(f"w-{id_}", "contact", "push", None))
payments = st.builds(
    lambda id_, order, amount: IncomingOrder(f"o-{id_}", order, PaymentReceived(amount)),
    ids,
    st.sampled_from(["order-1", "order-2"]),
    st.integers(1, 3),
)
events = st.lists(webhooks | payments, min_size=1, unique_by=lambda incoming: incoming.id).map(tuple)


def accounts(done: list[Incoming]) -> Evidence:
    """The evidence of services that received exactly these calls."""
    evidence = Evidence(
        sink=Account(JournalReader("")), mail=Account(JournalReader("")), auth=Account(JournalReader(""))
    )
    for number, incoming in enumerate(done):
        if isinstance(incoming, IncomingWebhook):
            evidence.sink.taken[f"run-{number}"] = (incoming.id,)
        else:
            evidence.mail.taken[f"run-{number}"] = ("ada@example.com", notice(incoming.order, incoming.event))
    return evidence


def answered(accepted: tuple[Incoming, ...], refused: tuple[Incoming, ...] = ()) -> Deliveries:
    """The records of a source that sent each of these once, and received its answer."""
    deliveries = Deliveries((*accepted, *refused))
    for incoming in deliveries.order:
        sending = deliveries.of(incoming)
        sending.sent = 1
        sending.verdict = Accepted(0) if incoming in accepted else Refusal(0, "no")
    return deliveries


@given(events, st.permutations(range(20)))
def test_it_holds_when_every_acknowledged_event_was_done_once(accepted, order):
    done = [accepted[index] for index in order if index < len(accepted)] + list(accepted[20:])
    proof = prove(answered(accepted), accounts(done))
    assert proof.holds
    assert proof.processed == proof.accepted == len(accepted)


@given(events, st.data())
def test_it_fails_when_one_effect_is_missing(accepted, data):
    missing = data.draw(st.sampled_from(accepted))
    proof = prove(answered(accepted), accounts([each for each in accepted if each != missing]))
    assert not proof.holds
    assert len(proof.lost) == 1
    assert proof.processed == len(accepted) - 1


@given(events, st.data())
def test_it_fails_when_one_effect_is_there_twice(accepted, data):
    twice = data.draw(st.sampled_from(accepted))
    proof = prove(answered(accepted), accounts([*accepted, twice]))
    assert not proof.holds
    assert proof.lost == ()
    assert twice.id in proof.twice


@given(events)
def test_a_refused_request_may_have_no_effect(refused):
    assert prove(answered((), refused), accounts([])).holds
    done = prove(answered((), refused), accounts(list(refused)))
    assert not done.holds
    assert set(done.twice) == {incoming.id for incoming in refused}


@given(events)
def test_an_unanswered_call_is_not_a_success(sent):
    deliveries = Deliveries(sent)
    for incoming in sent:
        deliveries.of(incoming).sent = 1
    proof = prove(deliveries, accounts([]))
    assert not proof.holds
    assert proof.unanswered == tuple(incoming.id for incoming in sent)


def test_repeats_are_counted_by_sending():
    hook = IncomingWebhook("w", "contact", "push", None)
    deliveries = answered((hook,))
    deliveries.of(hook).sent = 3
    proof = prove(deliveries, accounts([hook]))
    assert (proof.sent, proof.repeats, proof.accepted) == (3, 2, 1)


def test_an_acceptance_remains():
    deliveries = Deliveries(())
    sending = deliveries.of(IncomingWebhook("w", "contact", "push", None))
    for answer in (Refusal(0, "no"), None, Accepted(1), Refusal(2, "no"), None):
        sending.take(answer)
    assert sending.verdict == Accepted(1)


# ---------------------------------------------------------------- the journals
def account_of(tmp_path: Path, *entries: Entry) -> Account:
    journal = Journal(str(tmp_path / "journal"))
    for entry in entries:
        journal.append(entry)
    account = Account(JournalReader(journal.path))
    account.read()
    return account


def test_a_call_that_was_cut_off_and_came_again_was_delivered_again(tmp_path):
    account = account_of(tmp_path, Called("run"), Called("run"), Taken("run", ("evt",)))
    assert account.repeated == {"run"}
    assert account.taken == {"run": ("evt",)}


def test_a_call_that_was_carried_out_and_came_again_was_delivered_again(tmp_path):
    account = account_of(tmp_path, Called("run"), Taken("run", ("evt",)), Called("run"), AlreadyApplied("run"))
    assert account.repeated == {"run"}


def test_a_retry_is_not_a_repeat(tmp_path):
    account = account_of(tmp_path, Called("run"), ServiceRefused("run", "full"), Called("run"), Taken("run", ("evt",)))
    assert account.repeated == set()
    assert account.refused == 1


def test_a_journal_is_read_as_far_as_it_is_written(tmp_path):
    path = tmp_path / "journal"
    reader = JournalReader(str(path))
    assert list(reader.new_entries()) == []
    whole = b'{"type":"Called","call":"a"}\n'
    path.write_bytes(whole + whole[:9])
    assert list(reader.new_entries()) == [Called("a")]
    path.write_bytes(whole + whole)
    assert list(reader.new_entries()) == [Called("a")]
