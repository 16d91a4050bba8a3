"""The wire format between a client and a server: requests, answers and errors as JSON. Pure."""
