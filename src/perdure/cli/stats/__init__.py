"""What ``perdure stats`` does: say what is in a store and how large it is."""
