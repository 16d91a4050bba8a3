"""The OpenAPI description of an engine's HTTP interface, from the types of its definitions."""

from __future__ import annotations

from perdure.wire.openapi.document import openapi

__all__ = ["openapi"]
