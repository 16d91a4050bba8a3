"""The turn of one request: load, decide, and begin its commit or its run."""
