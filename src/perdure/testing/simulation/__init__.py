"""Simulated runs of one program, with its services, and with faults at its effects."""
