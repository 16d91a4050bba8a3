"""The engine as a server: reach a running engine over HTTP, from other processes and other languages."""
