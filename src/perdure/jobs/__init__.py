"""What all kinds of jobs share: contexts, drafts, definitions, and the pure decisions around a run."""
