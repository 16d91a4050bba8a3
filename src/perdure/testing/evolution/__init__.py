"""Prove a change of a state's shape: every older version becomes the present one, and nothing of the row is lost."""

from perdure.testing.evolution.check import check_evolution
from perdure.testing.evolution.loss import EvolutionLoses

__all__ = ["EvolutionLoses", "check_evolution"]
