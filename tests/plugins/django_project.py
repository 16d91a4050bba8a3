"""The Django project of the tests: Django has one set of settings for each process, and needs them for its models."""

import atexit
import shutil
import tempfile
from pathlib import Path

import django
from django.conf import settings


def set_up_project() -> Path:
    """Set the project up, once in this process, and return the file of its database."""
    if not settings.configured:
        folder = Path(tempfile.mkdtemp(prefix="perdure-django-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "project.db")}},
            INSTALLED_APPS=["perdure.integrations.django"],
            USE_TZ=True,
        )
        django.setup()
    return Path(settings.DATABASES["default"]["NAME"])
