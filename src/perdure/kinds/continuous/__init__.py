"""Continuous jobs: recurring work."""

from typing import TYPE_CHECKING

from perdure.kinds.continuous.context import ContinuousContext as ContinuousContext
from perdure.kinds.continuous.definition import Continuous as Continuous

if TYPE_CHECKING:
    from perdure.kinds.continuous.handle import ContinuousHandle as ContinuousHandle
    from perdure.kinds.continuous.handle import ContinuousSender as ContinuousSender
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__, {"perdure.kinds.continuous.handle": ("ContinuousHandle", "ContinuousSender")}
    )

__all__ = ["Continuous", "ContinuousContext", "ContinuousHandle", "ContinuousSender"]
