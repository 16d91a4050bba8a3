"""Perdure in web frameworks: one module for each, with its lifespan, access to the client, and its errors.

``starlette``, ``fastapi`` (the names of ``starlette``, as dependencies), ``litestar`` and ``django``.
"""
