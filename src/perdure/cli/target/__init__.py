"""What a command works on: a running engine, or a store at rest."""
