"""The parts shared by all job kinds: contexts, drafts, definitions, and the pure decisions around a run."""
