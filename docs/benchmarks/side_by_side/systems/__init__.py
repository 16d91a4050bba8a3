"""One adapter for each system."""
