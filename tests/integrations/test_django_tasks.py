"""Django's tasks on a worker pool: what Django's own tests ask of a backend, and the outbox."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django_project import set_up_project
from engine_on_socket import engine_on

set_up_project()
pytest.importorskip("django.tasks", reason="of Django 6, which needs Python 3.12")

import django_tasks_project as project  # noqa: E402 - the models need the project
from django.core.checks import run_checks  # noqa: E402 - as above
from django.tasks import TaskResultStatus, default_task_backend, task_backends  # noqa: E402 - as above
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch  # noqa: E402 - as above
from django.tasks.signals import task_enqueued, task_finished, task_started  # noqa: E402 - as above
from django.test.utils import override_settings  # noqa: E402 - as above

from perdure.integrations.django import client  # noqa: E402 - as above
from perdure.integrations.django.client import jobs  # noqa: E402 - as above
from perdure.integrations.django.models import OutboxRequest  # noqa: E402 - as above
from perdure.values.errors import DefinitionError, ServerUnreachable  # noqa: E402 - as above


@pytest.fixture(autouse=True)
def engine(tmp_path: Path) -> Iterator[None]:
    socket = tmp_path / "engine.sock"
    call_command("migrate", verbosity=0)
    OutboxRequest.objects.all().delete()
    paths = [f"django_tasks_project.{pool}" for pool in ("tasks", "tried_again", "one_by_one")]
    with override_settings(PERDURE_URL=f"http+unix://{socket}", PERDURE_JOBS=paths, PERDURE_TIMEOUT="60 seconds"):
        client.close()
        with engine_on(socket, project.app):
            yield
        client.close()
    project.gate.clear()
    project.seen.clear()


def ended(result: Any, pool: Any = project.tasks) -> Any:
    """Return a result once its task has ended."""
    jobs().run(jobs().until(pool, result.id, "ended", "parked", timeout="2 minutes"))
    result.refresh()
    return result


def test_a_task_is_run_and_its_value_is_read() -> None:
    result = project.add.enqueue(1, other=2)
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 0)
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    assert ended(result).return_value == 3
    assert (result.status, result.attempts, result.errors) == (TaskResultStatus.SUCCESSFUL, 1, [])
    assert result.enqueued_at <= result.started_at <= result.finished_at
    found = project.add.get_result(result.id)
    assert (found, found.return_value) == (result, 3)
    assert (found.args, found.kwargs) == ([1], {"other": 2})


def test_coroutines_are_run_and_enqueued() -> None:
    async def enqueue() -> Any:
        result = await project.add_later.aenqueue(20, 22)
        await asyncio.to_thread(ended, result)
        await result.arefresh()
        return result

    assert asyncio.run(enqueue()).return_value == 42


def test_a_task_that_raises_has_failed_with_its_exception_and_traceback() -> None:
    result = ended(project.refuse.enqueue())
    assert result.status == TaskResultStatus.FAILED
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value
    (error,) = result.errors
    assert error.exception_class is project.OutOfTea
    assert error.traceback.endswith("OutOfTea: none left\n")


def test_a_value_that_is_no_json_is_a_failure() -> None:
    (error,) = ended(project.unserializable.enqueue()).errors
    assert error.exception_class is TypeError


def test_a_task_is_ready_then_running_then_successful() -> None:
    results = [project.wait.enqueue() for _ in range(3)]  # of which two workers take two
    while {each.status for each in results} != {"RUNNING", "READY"} or jobs().run(
        jobs().handle(project.tasks).progress()
    ).running != 2:
        for each in results:
            each.refresh()
    assert sorted(each.attempts for each in results) == [0, 1, 1]
    project.gate.set()
    assert [ended(each).return_value for each in results] == ["over"] * 3


def test_a_pool_with_a_retry_tries_again_and_the_task_sees_its_attempt() -> None:
    result = ended(project.third_time.enqueue(), project.tried_again)
    assert result.return_value == [3, "RUNNING", result.id]


def test_a_task_waits_for_its_time() -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    result = project.add.using(run_after=tomorrow).enqueue(1)
    item = jobs().run(jobs().handle(project.tasks).status(result.id))
    assert (item.status, item.next_run_at) == ("scheduled", tomorrow.replace(microsecond=item.next_run_at.microsecond))
    result.refresh()
    assert result.status == TaskResultStatus.READY


def test_a_higher_priority_overtakes_and_queues_take_turns() -> None:
    project.hold.enqueue()
    for word, priority in (("low", -50), ("plain", 0), ("high", 100)):
        project.note.using(priority=priority).enqueue(word)
    last = project.note.using(priority=-100).enqueue("lowest")
    project.note.using(queue_name="mail", priority=-100).enqueue("mail")
    project.gate.set()
    ended(last, project.one_by_one)
    assert [word for word in project.seen if word != "mail"] == ["high", "plain", "low", "lowest"]
    assert project.seen.index("mail") < 2


def test_receivers_of_the_signals_are_told() -> None:
    told = list[tuple[str, str]]()

    def receiver(signal: Any, task_result: Any, **_: Any) -> None:
        told.append((names[signal], task_result.status))

    names = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}
    for signal in names:
        signal.connect(receiver)
    try:
        ended(project.add.enqueue(1))
        ended(project.refuse.enqueue())
    finally:
        for signal in names:
            signal.disconnect(receiver)
    begun = [("enqueued", "READY"), ("started", "RUNNING")]
    assert sorted(told) == sorted([*begun, ("finished", "SUCCESSFUL"), *begun, ("finished", "FAILED")])


def test_the_outbox_enqueues_with_the_transaction() -> None:
    task = project.note.using(backend="outbox")
    with transaction.atomic():
        task.enqueue("rolled back")
        transaction.set_rollback(True)
    with transaction.atomic():
        result = task.enqueue("committed")
        with pytest.raises(TaskResultDoesNotExist):
            task.get_result(result.id)
    assert ended(result, project.one_by_one).status == TaskResultStatus.SUCCESSFUL
    assert project.seen == ["committed"]


def test_results_that_do_not_exist_or_are_of_another_task() -> None:
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result("absent")
    result = project.add.enqueue(1)
    with pytest.raises(TaskResultMismatch):
        project.wait.get_result(result.id)


@pytest.mark.parametrize("changed", [{"queue_name": "nowhere"}, {"priority": 101}, {"run_after": datetime(2100, 1, 1)}])  # noqa: DTZ001 - wrong on purpose
def test_a_task_that_the_backend_cannot_run_is_refused(changed: Any) -> None:
    with pytest.raises(InvalidTask):
        project.add.using(**changed)


def test_arguments_that_are_no_json_are_refused_and_nothing_is_enqueued() -> None:
    with pytest.raises(TypeError):
        project.add.enqueue(object())
    assert not jobs().run(jobs().list(project.tasks)).instances


def test_an_engine_that_does_not_answer_is_an_error_of_the_caller() -> None:
    client.close()
    with (
        override_settings(PERDURE_URL="http+unix:///nowhere.sock", PERDURE_TIMEOUT="1 ms"),
        pytest.raises(ServerUnreachable),
    ):
        project.add.enqueue(1)
    client.close()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "expected the dotted path of a pool"),
        ({"pool": "django_tasks_project.add"}, "expected the dotted path of a pool"),
        ({"pool": "nowhere.tasks"}, "expected the dotted path of a pool"),
        ({"pool": "django_tasks_project.tasks", "priority_step": "soon"}, "priority_step"),
        ({"pool": "django_tasks_project.tasks", "priority_step": "2 days"}, "at most 43 hours"),
    ],
)
def test_wrong_options_are_found_by_the_checks_of_the_project(options: Any, problem: str) -> None:
    backend = {"BACKEND": "perdure.integrations.django.tasks.PerdureBackend", "OPTIONS": options}
    with override_settings(TASKS={**settings.TASKS, "wrong": backend}):
        (error,) = [each for each in run_checks() if each.id == "perdure.E001"]
        assert problem in error.msg
        with pytest.raises(DefinitionError):
            task_backends["wrong"].enqueue(project.add, [1], {})
