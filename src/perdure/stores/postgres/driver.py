"""The driver, which has no types of its own."""

from __future__ import annotations

from typing import Any

import asyncpg as _asyncpg  # type: ignore[import-untyped]

asyncpg: Any = _asyncpg
"""The module ``asyncpg``."""
