"""The pytest plugin of perdure.

It is a separate package so that pytest can load it without loading perdure: perdure, hypothesis and asyncio are
imported only when a test uses a fixture, or an option requires it.
"""
