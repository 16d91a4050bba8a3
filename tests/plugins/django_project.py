"""The Django project of the tests: Django has one set of settings for each process, and needs them for its models."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import django
from django.conf import settings


def _backend(pool: str, **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "perdure.integrations.django.tasks.PerdureBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"pool": f"django_tasks_project.{pool}", **options},
    }


def set_up_project() -> Path:
    """Set the project up, once in this process, and return the file of its database."""
    if not settings.configured:
        folder = Path(tempfile.mkdtemp(prefix="perdure-django-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "project.db")}},
            INSTALLED_APPS=["perdure.integrations.django"],
            USE_TZ=True,
            TASKS={  # of Django 6: an older one ignores it
                "default": _backend("tasks"),
                "one-by-one": _backend("one_by_one"),
                "outbox": _backend("one_by_one", outbox=True),
                "tried-again": _backend("tried_again"),
            },
        )
        django.setup()
    return Path(settings.DATABASES["default"]["NAME"])
