"""An engine beside others on a shared store: its lease, its share, and takeovers."""
