"""The pytest plugin of perdure.

It is a package of its own so that pytest can load it without loading perdure: nothing of perdure, hypothesis or asyncio
is imported before a test asks for a fixture, or an option says so.
"""
