"""``perdure doctor``: checks an installation, a store and its engine."""
