"""``perdure stats``: counts and file size of a store."""
