"""Runs of user programs: their slots, claims, effects, checkpoints and ends."""
