"""One request's turn: load, decide, and begin its commit or its run."""
