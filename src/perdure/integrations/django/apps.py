"""The application for ``INSTALLED_APPS``."""

from __future__ import annotations

from django.apps import AppConfig


class PerdureConfig(AppConfig):
    """Perdure in a Django project."""

    name = "perdure.integrations.django"
    label = "perdure"
    verbose_name = "perdure"
    default_auto_field = "django.db.models.BigAutoField"
