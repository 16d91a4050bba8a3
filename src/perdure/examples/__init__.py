"""The example jobs of the README, the tutorial and ``perdure demo``, and a web shop."""
