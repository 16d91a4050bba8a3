"""A Hypothesis state machine for any job, from its definition alone."""

from perdure.testing.machine.job_laws import InstanceView, JobLaws
from perdure.testing.machine.job_machine import JobMachine, JobRules
from perdure.testing.machine.model import DrawnRequest, Model
from perdure.testing.machine.monitor import InvariantViolated

__all__ = ["DrawnRequest", "InstanceView", "InvariantViolated", "JobLaws", "JobMachine", "JobRules", "Model"]
