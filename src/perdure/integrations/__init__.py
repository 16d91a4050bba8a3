"""Perdure in web frameworks: each module has a lifespan, access to the client, and responses for its errors.

``starlette``, ``fastapi`` (the same names, as dependencies), ``litestar`` and ``django``. ``restate`` serves jobs to a
cluster instead of an engine.
"""
