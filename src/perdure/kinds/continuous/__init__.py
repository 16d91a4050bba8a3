"""Continuous jobs: recurring work."""

from perdure.kinds.continuous.context import ContinuousContext as ContinuousContext
from perdure.kinds.continuous.definition import Continuous as Continuous
from perdure.kinds.continuous.handle import ContinuousHandle as ContinuousHandle
from perdure.kinds.continuous.handle import ContinuousTeller as ContinuousTeller

__all__ = ["Continuous", "ContinuousContext", "ContinuousHandle", "ContinuousTeller"]
