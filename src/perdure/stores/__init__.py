"""Stores, and the contract that they fulfil."""
