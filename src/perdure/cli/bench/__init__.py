"""``perdure bench``: a short measurement of a disk and of an engine on it."""
