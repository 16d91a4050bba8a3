"""What ``perdure verify`` does: look at every page and every row of a store, whatever code it belongs to."""
