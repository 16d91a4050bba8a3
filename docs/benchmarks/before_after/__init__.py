"""The engine of two source trees, measured in turns."""
