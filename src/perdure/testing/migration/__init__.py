"""Prove a change of a state's shape: every older version becomes the present one, and nothing of the row is lost."""

from perdure.testing.migration.check import check_migrations
from perdure.testing.migration.loss import MigrationLosesData

__all__ = ["MigrationLosesData", "check_migrations"]
