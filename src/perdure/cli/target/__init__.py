"""What a command works on: a running engine, or the file of a store at rest."""
