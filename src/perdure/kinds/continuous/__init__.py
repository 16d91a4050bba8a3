"""Continuous jobs: recurring work."""

from perdure.kinds.continuous.context import ContinuousContext as ContinuousContext
from perdure.kinds.continuous.definition import Continuous as Continuous
from perdure.kinds.continuous.handle import ContinuousHandle as ContinuousHandle
from perdure.kinds.continuous.handle import ContinuousSender as ContinuousSender

__all__ = ["Continuous", "ContinuousContext", "ContinuousHandle", "ContinuousSender"]
