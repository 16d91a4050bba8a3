"""The client: typed handles over a running engine."""
