"""Django: requests that are written with a transaction, and sent once it has committed."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models.signals import post_delete
from django_project import set_up_project
from engine_on_socket import engine_on
from web_shop.jobs import app, orders
from web_shop.order import OrderLine, Place, Ship

from perdure.server.access import Tokens
from perdure.values.errors import AccessDenied, InvalidInput, ServerUnreachable

set_up_project()

from perdure.integrations.django import client  # noqa: E402 - the models need the project
from perdure.integrations.django.client import jobs  # noqa: E402 - as above
from perdure.integrations.django.models import OutboxRequest  # noqa: E402 - as above
from perdure.integrations.django.outbox import send_after_commit, send_waiting  # noqa: E402 - as above

PLACE = Place("ada@example.com", (OrderLine("book", 1, 500),))


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """The project with an empty database, and the socket of an engine that does not run yet."""
    call_command("migrate", verbosity=0)
    OutboxRequest.objects.all().delete()
    socket = tmp_path / "engine.sock"
    settings.PERDURE_URL = f"http+unix://{socket}"
    settings.PERDURE_JOBS = ["web_shop.jobs.orders"]
    settings.PERDURE_TIMEOUT = "5 seconds"
    yield socket
    client.close()


def place(order: str) -> OutboxRequest:
    return send_after_commit(orders, order, lambda sender: sender.send(PLACE))


def stage(order: str) -> str | None:
    state = jobs().run(jobs().handle(orders).get_state(order))
    return None if state is None else state.stage


def test_a_request_is_sent_when_its_transaction_commits(socket: Path) -> None:
    with engine_on(socket, app):
        with transaction.atomic():
            place("o-1")
            assert stage("o-1") is None
        assert stage("o-1") == "awaiting_payment"
        assert not OutboxRequest.objects.exists()


def test_a_request_is_never_sent_when_its_transaction_rolls_back(socket: Path) -> None:
    with engine_on(socket, app):
        with transaction.atomic():
            place("o-1")
            transaction.set_rollback(True)
        assert stage("o-1") is None
        assert not OutboxRequest.objects.exists()


@pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")  # httpcore leaves it open
def test_a_request_waits_for_an_engine_that_does_not_answer(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.PERDURE_TIMEOUT = "1 ms"
    row = place("o-1")
    assert isinstance(send_waiting().stopped_by, ServerUnreachable)
    with pytest.raises(CommandError, match="no engine answers"):
        call_command("perdure", "outbox")
    assert OutboxRequest.objects.get().attempts == 3
    client.close()
    settings.PERDURE_TIMEOUT = "5 seconds"
    with engine_on(socket, app):
        call_command("perdure", "outbox")
        assert capsys.readouterr().out.endswith("sent 1, refused 0\n")
        assert stage("o-1") == "awaiting_payment"
        row.save(force_insert=True)  # the answer was lost: the row is sent again, with its key
        assert send_waiting().sent == 1
        events = jobs().run(jobs().history(orders, "o-1"))
        assert [logged.event.type for logged in events].count("job.started") == 1


@pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")  # httpcore leaves it open
def test_a_commit_sends_the_requests_to_its_own_instance_only(socket: Path) -> None:
    settings.PERDURE_TIMEOUT = "1 ms"
    place("o-1")
    client.close()
    settings.PERDURE_TIMEOUT = "5 seconds"
    with engine_on(socket, app):
        place("o-2")
        assert [row.instance for row in OutboxRequest.objects.all()] == ["o-1"]
        assert (stage("o-1"), stage("o-2")) == (None, "awaiting_payment")
        assert send_waiting().sent == 1


def test_the_migrations_make_the_tables_of_the_models(socket: Path) -> None:
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)


def test_tables_that_are_there_already_are_taken_over(socket: Path) -> None:
    call_command("migrate", "perdure", "zero", fake=True, verbosity=0)
    call_command("migrate", "perdure", fake_initial=True, verbosity=0)
    assert not OutboxRequest.objects.exists()


def test_a_refused_request_stays_with_its_error_and_is_not_repeated(socket: Path) -> None:
    with engine_on(socket, app):
        send_after_commit(orders, "o-1", lambda sender: sender.send(Ship("1Z9")))
        place("o-1")
        assert "NotPossible" in OutboxRequest.objects.get().error
        assert stage("o-1") == "awaiting_payment"
        assert send_waiting().refused == 0


@pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")  # httpcore leaves it open
@pytest.mark.parametrize("answers", [True, False])
def test_a_row_that_another_process_sends_meanwhile_is_no_error(socket: Path, *, answers: bool) -> None:
    settings.PERDURE_TIMEOUT = "1 ms"
    place("o-1")
    send_after_commit(orders, "o-1", lambda sender: sender.send(Ship("1Z9")))  # not possible yet
    client.close()
    settings.PERDURE_TIMEOUT = "5 seconds"

    def sent_elsewhere(instance: OutboxRequest, **_: object) -> None:
        if not answers:
            settings.PERDURE_TIMEOUT = "1 ms"
            settings.PERDURE_URL = f"http+unix://{socket}-gone"
            client.close()
        OutboxRequest.objects.exclude(pk=instance.pk).delete()

    post_delete.connect(sent_elsewhere, sender=OutboxRequest)
    try:
        with engine_on(socket, app):
            done = send_waiting()
    finally:
        post_delete.disconnect(sent_elsewhere, sender=OutboxRequest)
    assert (done.sent, done.refused, done.stopped_by is None) == (1, int(answers), answers)
    assert not OutboxRequest.objects.exists()


def test_a_request_waits_for_a_token_that_the_engine_accepts(socket: Path) -> None:
    """The engine has not decided on it: a row with an error would never be sent."""
    secret = "secret-of-this-web-application-0123456789"  # noqa: S105 - of this test
    with engine_on(socket, app, access=Tokens.parse(f"web read,call {secret}")):
        settings.PERDURE_TOKEN = secret[::-1]
        try:
            place("o-1")
            assert isinstance(send_waiting().stopped_by, AccessDenied)
            row = OutboxRequest.objects.get()
            assert (row.error, row.attempts) == ("", 2)
            client.close()
            settings.PERDURE_TOKEN = secret
            assert send_waiting().sent == 1
            assert stage("o-1") == "awaiting_payment"
        finally:
            client.close()
            del settings.PERDURE_TOKEN


class ReadTogether(list[str]):
    """Definitions; while they are read first, another thread asks for the client as well."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.reads = 0
        self.found: list[object] = []
        self.other = threading.Thread(target=lambda: self.found.append(jobs()))

    def __iter__(self) -> Iterator[str]:
        self.reads += 1
        if self.reads == 1:
            self.other.start()
            while self.other.is_alive() and not self._asks():
                pass
        return super().__iter__()

    def _asks(self) -> bool:
        frame = sys._current_frames().get(self.other.ident or 0)
        while frame is not None and frame.f_code is not jobs.__code__:
            frame = frame.f_back
        return frame is not None


def test_threads_that_ask_for_the_client_at_once_share_one(socket: Path) -> None:
    settings.PERDURE_JOBS = ReadTogether(["web_shop.jobs.orders"])
    found = jobs()
    settings.PERDURE_JOBS.other.join(120)
    assert settings.PERDURE_JOBS.found == [found]
    assert settings.PERDURE_JOBS.reads == 1


def test_an_input_of_a_wrong_type_is_refused_in_the_view(socket: Path) -> None:
    with pytest.raises(InvalidInput, match="quantity"):
        send_after_commit(orders, "o-1", lambda sender: sender.send(Place("ada", (OrderLine("book", "1", 5),))))  # type: ignore[arg-type]
    assert not OutboxRequest.objects.exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("PERDURE_URL", "", "PERDURE_URL"), ("PERDURE_JOBS", ["os.path"], "'os.path'")]
)
def test_a_wrong_setting_is_named(socket: Path, name: str, value: object, expected: str) -> None:
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=expected):
        jobs()


def test_a_command_of_perdure_finds_the_engine_of_the_settings(socket: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    try:
        with engine_on(socket, app), pytest.raises(SystemExit) as ended:
            call_command("perdure", "list", "--json")
        assert (ended.value.code, os.environ["PERDURE_SERVER"]) == (0, f"http+unix://{socket}")
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("http://a:1", {}, {"PERDURE_SERVER": "http://a:1"}),
        (["http://a:1", "http://b:1"], {}, {"PERDURE_SERVER": "http://a:1,http://b:1"}),
        ("sqlite:///jobs.db", {}, {"PERDURE_STORE": "sqlite:///jobs.db"}),
        ("http://a:1", {"PERDURE_SERVER": "http://b:1"}, {"PERDURE_SERVER": "http://b:1"}),
        ("http://a:1", {"PERDURE_STORE": "sqlite:///jobs.db"}, {"PERDURE_STORE": "sqlite:///jobs.db"}),
        ("", {}, {}),
    ],
)
def test_a_command_takes_the_place_of_the_settings_unless_the_environment_names_one(
    socket: Path, url: str | list[str], environment: dict[str, str], found: dict[str, str]
) -> None:
    settings.PERDURE_URL = url
    before = dict(os.environ)
    try:
        os.environ.update(environment)
        with pytest.raises(SystemExit):
            call_command("perdure", "no-such-command")
        assert {name: os.environ[name] for name in ("PERDURE_SERVER", "PERDURE_STORE") if name in os.environ} == found
        assert "PERDURE_URL" not in os.environ
    finally:
        os.environ.clear()
        os.environ.update(before)
