"""The way to the store and back: batches of reads and commits, and their answers."""
