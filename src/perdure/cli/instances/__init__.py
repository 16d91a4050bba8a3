"""The commands that read and change instances."""
