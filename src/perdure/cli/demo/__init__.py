"""``perdure demo``: real events, a worker process, a crash in the middle, and a proof from the services' journals."""
