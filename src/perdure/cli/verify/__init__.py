"""``perdure verify``: check every page and every row of a store, without the user's code."""
