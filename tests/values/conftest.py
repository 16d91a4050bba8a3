"""The tests of every class import the integration of Django, which needs its settings."""

from django_project import set_up_project

set_up_project()
