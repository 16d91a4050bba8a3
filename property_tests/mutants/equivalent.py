"""Generic mutants that no test can kill: survivors that were read, and why they behave as the library does."""

_KEPT = "return kept is not None and version_of(kept) > version_of(read) and kept.due_ms != read.due_ms"
_LATER = "job.keeps_journal and (type(request.command) is Resume or type(request.command) in job.copying)"
_IDLE = "max_keepalive_connections=given.max_connections"
_OF_CLIENTS = f"limits: Any = httpx2.Limits(max_connections=given.max_connections, {_IDLE})"
_EAGER = "if sys.version_info < (3, 12) or loop.get_task_factory() is not None:"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("engine/loops/alarms.py", f"`>` → `>=` in `{_KEPT}`"): "rows of one version are equal, and so are their instants",
    ("engine/loops/alarms.py", "`0` → `1` in `address, due_ms = row.address, row.due_ms or 0`"): (
        "a store returns rows with an instant; the zero is for the type checker"
    ),
    ("runtime/on_asyncio.py", f"`<` → `<=` in `{_EAGER}`"): "the version has five parts, so it never equals two",
    ("runtime/simulated.py", "`self._late.clear()` → `pass` in `self._late.clear()`"): (
        "a process that was killed never thaws, so that no late timer is read again"
    ),
    ("runtime/record.py", "`3` → `4` in `alarm_refills: int = _size(3)`"): (
        "any internal size leads to the same results"
    ),
    ("remote/connecting.py", f"`{_IDLE}` → ` ` in `{_OF_CLIENTS[:97]}...`"): (
        "without the option, as many connections stay idle as there may be"
    ),
    ("values/cron_ticks.py", "`1` → `2` in `_SECOND = timedelta(seconds=1)`"): (
        "a line has whole minutes: no tick is in the two seconds before a midnight"
    ),
    (
        "testing/job_laws.py",
        "`0` → `1` in `self._last_of_pair[pair] = max(message_id, self._last_of_pair.get(pair, 0))`",
    ): "ids of messages begin at 1",
    (
        "client/local_gateway.py",
        f"`and` → `or` in `{_LATER}`",
    ): "the longer way asks the same again, and does the same",
}
"""By the file below ``src/perdure`` and the change as `search.py` shows it."""
