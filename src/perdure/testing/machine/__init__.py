"""A Hypothesis state machine for any job, from its definition alone."""

from perdure.testing.machine.asking import Ask
from perdure.testing.machine.law import LawBroken
from perdure.testing.machine.machine import JobMachine
from perdure.testing.machine.model import Model
from perdure.testing.machine.rules import JobRules
from perdure.testing.machine.view import InstanceView

__all__ = ["Ask", "InstanceView", "JobMachine", "JobRules", "LawBroken", "Model"]
