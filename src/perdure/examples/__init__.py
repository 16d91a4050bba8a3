"""The three example jobs of the README, the tutorial and ``perdure demo``."""
