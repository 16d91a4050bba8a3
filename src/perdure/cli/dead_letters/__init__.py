"""The commands that read and redrive dead letters."""
