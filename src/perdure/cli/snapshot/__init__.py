"""``perdure snapshot``: writes chosen rows of a store, without personal data, for tests of new code."""
