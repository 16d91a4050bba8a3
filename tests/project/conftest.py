"""Every module of the library can be imported: the models of Django need a project."""

from django_project import set_up_project

set_up_project()
