"""The kit for testing jobs and stores. Nothing else in the library imports it, nor hypothesis or pytest."""
