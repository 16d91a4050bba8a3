"""Mailboxes: the entries that wait for an instance, its cell in memory, and the cache of cells."""
