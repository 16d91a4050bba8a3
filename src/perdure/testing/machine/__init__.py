"""A Hypothesis state machine for any job, from its definition alone."""

from perdure.testing.machine.job_laws import JobLaws
from perdure.testing.machine.law import InvariantViolated
from perdure.testing.machine.machine import JobMachine
from perdure.testing.machine.model import Model
from perdure.testing.machine.requests import DrawnRequest
from perdure.testing.machine.rules import JobRules
from perdure.testing.machine.view import InstanceView

__all__ = ["DrawnRequest", "InstanceView", "InvariantViolated", "JobLaws", "JobMachine", "JobRules", "Model"]
