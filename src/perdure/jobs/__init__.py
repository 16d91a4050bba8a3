"""The parts shared by all kinds of jobs: contexts, drafts, definitions, and the pure decisions around a run."""
