"""A fourth kind of job, made outside the package: a reminder says its text once, when its time comes."""

from reminder.definition import Reminder

__all__ = ["Reminder"]
