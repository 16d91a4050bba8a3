"""Simulated runs: one program, its services, and what may go wrong at each of its effects."""
