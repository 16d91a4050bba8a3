"""Generic mutants that no test can kill: survivors that were read, and why they behave as the library does."""

_KEPT = "return kept is not None and version_of(kept) > version_of(read) and kept.due_ms != read.due_ms"
_EAGER = "if sys.version_info < (3, 12) or loop.get_task_factory() is not None:"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("engine/loops/alarms.py", f"`>` → `>=` in `{_KEPT}`"): "rows of one version are equal, and so are their instants",
    ("engine/loops/alarms.py", "`0` → `1` in `address, due_ms = row.address, row.due_ms or 0`"): (
        "a store returns rows with an instant; the zero is for the type checker"
    ),
    ("runtime/on_asyncio.py", f"`<` → `<=` in `{_EAGER}`"): "the version has five parts, so it never equals two",
}
"""By the file below ``src/perdure`` and the change as `search.py` shows it."""
