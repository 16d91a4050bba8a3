"""The values that engines on one shared store have in common: members, and their shares of the work."""
