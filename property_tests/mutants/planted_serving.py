"""Bugs in how an engine begins, listens and stops: declared instances, sockets, clients that are slow, the watchdog."""

from mutant import Mutant

ENSURING = "tests/behaviour/test_ensuring.py"
LISTENING = "tests/server/test_listening.py"

MUTANTS = (
    # ------------------------------------------------------------ declared instances
    Mutant(
        "a start sends to a declared instance that exists",
        "Ensuring._created",
        "if loaded.unwrap().instance is not None:",
        "if loaded.unwrap().instance is not None and declared.request.action == 'start':",
        f"{ENSURING}::test_an_existing_instance_remains_as_it_is[memory]",
    ),
    Mutant(
        "a start fills the queue with declared instances",
        "Ensuring._created",
        "        await self.dispatcher.room_for(declared.address)\n",
        "",
        f"{ENSURING}::test_a_queue_of_one_is_enough[sqlite]",
    ),
    Mutant(
        "a start waits for the first runs of declared instances",
        "ensured",
        'attrs.evolve(request, wait_for="start")',
        "request",
        f"{ENSURING}::test_a_start_waits_for_no_run[memory]",
    ),
    # ------------------------------------------------------------ sockets
    Mutant(
        "the socket of a live process is replaced",
        "_refuse_a_live_one",
        "    if is_live(path):",
        "    if not path:",
        f"{LISTENING}::test_a_live_socket_is_never_replaced",
    ),
    Mutant(
        "a server removes the socket of its successor",
        "_remove",
        "if (status.st_dev, status.st_ino) == identity:",
        "if status.st_dev == identity[0]:",
        f"{LISTENING}::test_the_socket_of_a_successor_is_not_removed",
    ),
    Mutant(
        "other users can connect to a socket before it has its mode",
        "_bind",
        "        Path(hidden).chmod(PRIVATE)\n        listener.listen(backlog)\n",
        "        listener.listen(backlog)\n        Path(hidden).chmod(PRIVATE)\n",
        f"{LISTENING}::test_a_unix_socket_is_private_from_the_first_moment",
    ),
    Mutant(
        "a forked child keeps the port of its parent",
        "listening",
        "    guard_fork(served)\n",
        "",
        f"{LISTENING}::test_a_forked_child_keeps_neither_addresses_nor_connections",
    ),
    # ------------------------------------------------------------ the stop
    Mutant(
        "a stop cuts off requests in progress",
        "Listening.close",
        "await self._drain(self._runtime.monotonic_ms() + drain_ms)",
        "await self._drain(self._runtime.monotonic_ms())",
        f"{LISTENING}::test_a_request_in_progress_is_answered",
    ),
    Mutant(
        "a stop waits for a client that does not read",
        "Listening._drain",
        "if now_ms - since_ms >= CLIENT_GRACE_MS:",
        "if now_ms - since_ms >= 10 * CLIENT_GRACE_MS:",
        f"{LISTENING}::test_a_slow_client_does_not_hold_the_stop[reads slowly]",
    ),
    # ------------------------------------------------------------ the watchdog
    Mutant(
        "an engine whose store hangs looks alive",
        "_watch",
        "                await answers()\n",
        "                answers().close()\n",
        "tests/server/test_systemd.py::test_a_sign_of_life_is_sent_only_while_the_store_answers[path]",
    ),
)
