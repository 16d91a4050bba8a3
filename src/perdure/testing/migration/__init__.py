"""Tests of state migrations: every older version is converted to the current one, and no data of a row is lost."""

from perdure.testing.migration.check import check_migrations
from perdure.testing.migration.loss import MigrationLosesData

__all__ = ["MigrationLosesData", "check_migrations"]
