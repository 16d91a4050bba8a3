"""The management commands: ``perdure``."""
