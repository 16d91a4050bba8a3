"""Copying a whole store into another one, of the same kind or of another: ``perdure copy``."""
