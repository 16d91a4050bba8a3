"""A client's servers: their URLs, which one a call goes to, and which one it goes to next.

A URL names HTTP, a Unix socket, or the SQLite file that its engine owns.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import SplitResult, unquote

import attrs
from returns.result import Failure, Result, Success

from perdure.remote.channel import CONNECT_MS, AnswerLost, Channel, ClientClosed, ClientRuntime, NotSent
from perdure.stores.sqlite.files import owner_socket
from perdure.stores.url import sqlite_path
from perdure.stores.url_parts import redacted_url, split_url
from perdure.values.errors import (
    DefinitionError,
    EngineClosed,
    HookFailed,
    InvalidInput,
    OutcomeUnknown,
    Overloaded,
    OwnershipLost,
    PerdureError,
    ServerUnreachable,
    StoredResultUnreadable,
    StoreUnavailable,
    Undecodable,
    UnknownAction,
    UnknownJob,
)

_WHAT: Final = "URL of a server"
_EXPECTED: Final = (
    "'http://host:port', 'https://host', 'http+unix:///path/of.sock', or 'sqlite:///jobs.db': the file that the engine "
    "owns; it listens on the socket beside it"
)

_ABSENT: Final = os.strerror(errno.ENOENT)


@attrs.frozen
class ServerUrl:
    """Where a server listens.

    Attributes:
        name: for messages, without secrets.
        base: the URL that paths are added to.
        socket: the path to its Unix socket. None for TCP.
        hint: what to do if it does not answer.
        socket_name: where that socket is, for messages.
    """

    name: str
    base: str
    socket: str | None
    hint: str
    socket_name: str = ""

    def unreached(self, cause: str, /) -> str:
        """Return the reason why a request did not reach the server, and what to do."""
        if self.socket is not None and _ABSENT in cause:
            cause = f"no socket {self.socket_name}"
        return f"{cause}; {self.hint}"


def server_url(url: object) -> ServerUrl:
    """Read a server's URL.

    Args:
        url: see `connect`.

    Raises:
        DefinitionError: it is not a server's URL.
    """
    if not isinstance(url, str):
        raise DefinitionError(_WHAT, url, _EXPECTED)
    parts = split_url(url, what=_WHAT, example="http://127.0.0.1:8080")
    match parts.scheme:
        case "http" | "https" if _is_plain(parts) and "#" not in url:
            base = url.rstrip("/")
            return ServerUrl(base, base, None, "start it with: perdure serve MODULE:APP")
        case "http+unix" if not parts.netloc and parts.path not in ("", "/") and not parts.query and "#" not in url:
            path = unquote(parts.path)
            return ServerUrl(url, "http://engine", path, "start the engine that listens on that socket", path)
        case "sqlite":
            path = sqlite_path(url)
            hint = f"start the engine of that file: perdure run MODULE:APP --store {url}"
            socket = owner_socket(path)
            return ServerUrl(url, "http://engine", socket, hint, f"{Path(socket).name} beside the file")
        case _:
            meant = f"; did you mean {'sqlite:///' + redacted_url(url)!r}?" if url and not parts.scheme else ""
            raise DefinitionError(_WHAT, redacted_url(url), f"{_EXPECTED}{meant}")


def _is_plain(parts: SplitResult) -> bool:
    """Return whether an HTTP URL has a host, a valid port and nothing that may be a secret."""
    try:
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_host and "@" not in parts.netloc and "@" not in parts.path and not parts.query


A = TypeVar("A")

MAX_SERVERS: Final = 16
"""The maximum number of servers of one client."""

FIRST_DELAY_MS: Final = 10
MAX_DELAY_MS: Final = 250
"""Delays between rounds of attempts: doubled each time, up to a quarter of a second."""

MAX_ROUNDS_OF_VERSIONS: Final = 3
"""Rounds after refusals of another version: behind an address, a balancer may choose another engine."""

AWAY_MS: Final = 500
MAX_AWAY_MS: Final = 8_000
"""How long a server that is away comes last: doubled each time, up to 8 seconds."""

CallRepeat: TypeAlias = Literal["reads", "keyed", "changes_nothing", "applies_again"]
"""The effect of a repeat of a call; see `perdure.jobs.request.Repeat`. With a key, it gets the answer of the first."""

Verdict: TypeAlias = Literal["final", "elsewhere", "later"]
"""The next step after a failed attempt: none, each other server, or all of them again."""

Attempt: TypeAlias = Callable[["Server", float], Awaitable[Result[Any, PerdureError]]]
"""Sends a request to a server, and waits for its answer for so many milliseconds."""


@attrs.frozen(kw_only=True)
class ServerCall:
    """One call, to a client's servers.

    Attributes:
        about: the instance's address, which goes to the same server each time. "" for any server.
        waits_ms: how long the server may wait before it answers, in milliseconds.
        typed: whether its input has the caller's types, so that a server which cannot read it has another version.
    """

    about: str = ""
    repeat: CallRepeat
    waits_ms: float = 0
    typed: bool = False


@attrs.define(eq=False)
class Server:
    """A client's server, with its last failures.

    Attributes:
        channel: sends requests to it.
        unreached: returns why a request did not reach it, and the fix, from the connection's error.
    """

    name: str
    channel: Channel
    unreached: Callable[[str], str]
    _answered_ms: float = float("-inf")
    _failed_ms: float = float("-inf")
    _pause_ms: float = 0
    _away_until_ms: float = float("-inf")

    def rank(self, about: str) -> bytes:
        """Return the server's rank for an instance: the same in every client, and another for each instance."""
        # By hash: each client sends an instance's requests to the same engine, which then has it in memory.
        return blake2b(f"{self.name}\n{about}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

    def is_away(self, now_ms: float) -> bool:
        """Return whether it failed a moment ago."""
        return now_ms < self._away_until_ms

    def tried(self, now_ms: float) -> None:
        """Note that a request is sent to it. While one finds out whether it is back, others go elsewhere."""
        if self._pause_ms and now_ms >= self._away_until_ms:
            self._away_until_ms = now_ms + CONNECT_MS

    def answered(self, now_ms: float) -> None:
        """Note that it has answered."""
        self._answered_ms, self._pause_ms, self._away_until_ms = now_ms, 0, float("-inf")

    def failed(self, since_ms: float, now_ms: float) -> None:
        """Note that it did not answer, unless a request that began later, or ended later, was noted before."""
        if since_ms >= max(self._answered_ms, self._failed_ms):
            self._failed_ms = now_ms
            self._pause_ms = min(max(AWAY_MS, 2 * self._pause_ms), MAX_AWAY_MS)
            self._away_until_ms = now_ms + self._pause_ms


@attrs.frozen(eq=False)
class Servers:
    """A client's servers, which serve the same instances.

    Attributes:
        timeout_ms: how long a call may take, besides the time that its server may wait.
    """

    each: tuple[Server, ...]
    runtime: ClientRuntime
    timeout_ms: float

    @property
    def name(self) -> str:
        """Their URLs, for messages."""
        return ", ".join(server.name for server in self.each)

    async def perform(self, attempt: Attempt, call: ServerCall) -> Result[Any, PerdureError]:
        """Make a call: send it to one server, then to the others where that is safe and may help, then to all again.

        Each round begins with the instance's server, and ends with those that failed a moment ago. The rounds end when
        the call's time is over, or when no server failed in a way that passes.

        Args:
            attempt: sends the request to a server. It may raise its channel's exceptions.
            call: its instance, and a repeat's effect.

        Returns:
            The answer, or the call's error. It is ``OutcomeUnknown`` only if an attempt may have been applied.
        """
        progress = _Progress.of(call, self.runtime.now_ms(), self.timeout_ms)
        delay_ms: float = FIRST_DELAY_MS
        try:
            while True:
                ended = await self._round(attempt, progress)
                if ended is not None:
                    return ended
                if not progress.may_repeat(self.runtime.now_ms() + delay_ms):
                    return Failure(progress.error(self.name))
                # A pause between rounds: servers that refuse immediately would be called in a tight loop.
                await self.runtime.pause(delay_ms)
                delay_ms = min(2 * delay_ms, MAX_DELAY_MS)
        except ClientClosed:
            return Failure(EngineClosed("this client is closed: its block has ended"))

    async def _round(self, attempt: Attempt, progress: _Progress) -> Result[Any, PerdureError] | None:
        """Try each server once. Return None if no server settled the call."""
        progress.begin_round()
        order = self._order(progress.call.about)
        # `others` counts down to zero: the last server gets all the time that is left.
        for others, server in zip(reversed(range(len(order))), order, strict=True):
            now_ms = self.runtime.now_ms()
            # Also within a round: a slow server may have used up the time.
            if progress.is_over(now_ms):
                return None
            result = await self._tried(server, attempt, progress, progress.limit_ms(now_ms, others))
            if result is not None:
                return result
        return None

    async def _tried(
        self, server: Server, attempt: Attempt, progress: _Progress, limit_ms: float
    ) -> Result[Any, PerdureError] | None:
        """Send the request to a server. Return None if that did not settle the call."""
        began_ms = self.runtime.now_ms()
        server.tried(began_ms)
        try:
            result = await attempt(server, limit_ms)
        except NotSent as lost:
            server.failed(began_ms, self.runtime.now_ms())
            failure: PerdureError = ServerUnreachable(server.name, server.unreached(lost.reason))
            return progress.settled(server, failure, "later")
        except AnswerLost as lost:
            now_ms = self.runtime.now_ms()
            server.failed(began_ms, now_ms)
            progress.lost(now_ms)
            return progress.settled(server, OutcomeUnknown(lost.reason), "later")
        if isinstance(result, Success):
            server.answered(self.runtime.now_ms())
            return result
        failure = result.failure()
        # It answers, and is stopping: other servers come first for a while.
        if isinstance(failure, EngineClosed | OwnershipLost):
            server.failed(self.runtime.now_ms(), self.runtime.now_ms())
        else:
            server.answered(self.runtime.now_ms())
        return progress.settled(server, failure, _verdict(failure, progress.call))

    def _order(self, about: str) -> Sequence[Server]:
        """Return the servers in the order in which a round tries them."""
        if len(self.each) == 1:
            return self.each
        # Without an instance, requests are spread: each one has another order.
        now_ms, wanted = self.runtime.now_ms(), about or self.runtime.new_key()
        return sorted(self.each, key=lambda server: (server.is_away(now_ms), server.rank(wanted)))


@attrs.define
class _Progress:
    """One call's attempts so far.

    Attributes:
        timeout_ms: how long it may take until it reaches a server.
        reach_ms: when it ends if it reaches none.
        doubt: the last failure after which it may have been applied.
        round: this round's failures, in server order.
        waits: whether a failure in this round may pass.
        rounds: how many rounds have begun.
    """

    call: ServerCall
    deadline_ms: float
    timeout_ms: float
    reach_ms: float
    doubt: OutcomeUnknown | None = None
    round: list[PerdureError] = attrs.Factory(list[PerdureError])
    waits: bool = False
    rounds: int = 0

    @classmethod
    def of(cls, call: ServerCall, now_ms: float, timeout_ms: float) -> _Progress:
        """Return the progress for a call that begins."""
        return cls(call, now_ms + timeout_ms + call.waits_ms, timeout_ms, now_ms + timeout_ms)

    def begin_round(self) -> None:
        """Forget the last round's failures."""
        self.round, self.waits, self.rounds = [], False, self.rounds + 1

    def is_over(self, now_ms: float) -> bool:
        """Return whether the time is over, after a round's first attempt."""
        return bool(self.round) and now_ms >= self.deadline_ms

    def limit_ms(self, now_ms: float, others: int) -> float:
        """Return how long an attempt may take: half the time, if another server may answer in its place."""
        left_ms = max(1.0, self.deadline_ms - now_ms)
        # Only a call that may be repeated can leave a server before it has answered.
        if others == 0 or self.call.repeat not in ("reads", "keyed"):
            return left_ms
        return left_ms - max(0.0, left_ms - self.call.waits_ms) / 2

    def lost(self, now_ms: float) -> None:
        """Note that a server received the request, and did not answer."""
        self.reach_ms = now_ms + self.timeout_ms

    def settled(self, server: Server, failure: PerdureError, verdict: Verdict) -> Result[Any, PerdureError] | None:
        """Note a failure, and return it if it ends the call."""
        if isinstance(failure, OutcomeUnknown):
            if self.call.repeat == "reads":
                failure = ServerUnreachable(server.name, failure.reason)
            elif self.call.repeat == "applies_again":
                return Failure(failure)
            else:
                # It may have been applied: if no later attempt succeeds, this is the error.
                self.doubt = failure
        self.round.append(failure)
        self.waits = self.waits or verdict == "later" or self._may_be_balanced(failure)
        return Failure(self._in_doubt(failure)) if verdict == "final" else None

    def _may_be_balanced(self, failure: PerdureError) -> bool:
        """Return whether the next request to the same address may reach an engine with another version."""
        return self.call.typed and isinstance(failure, _OF_A_VERSION) and self.rounds < MAX_ROUNDS_OF_VERSIONS

    def may_repeat(self, now_ms: float) -> bool:
        """Return whether another round may begin then, and may succeed."""
        return self.waits and now_ms < min(self.deadline_ms, self.reach_ms)

    def error(self, servers: str) -> PerdureError:
        """Return the call's error after its last round.

        A server that refused the request has said more than one that did not answer.
        """
        refused = [
            each for each in self.round if not isinstance(each, EngineClosed | OutcomeUnknown | ServerUnreachable)
        ]
        unreached = [each for each in self.round if isinstance(each, ServerUnreachable)]
        # Two servers that cannot be reached are reported together: one reason would look like the only one.
        if refused or len(unreached) < max(2, len(self.round)):
            return self._in_doubt((refused or self.round)[0])
        reasons = "; ".join(f"{each.server}: {each.reason}" for each in unreached)
        return self._in_doubt(ServerUnreachable(servers, reasons))

    def _in_doubt(self, failure: PerdureError) -> PerdureError:
        # A failed hook is an answer to the request itself, and so ends the doubt.
        return failure if self.doubt is None or isinstance(failure, HookFailed) else self.doubt


_OF_A_VERSION: Final = (InvalidInput, StoredResultUnreadable, Undecodable, UnknownAction, UnknownJob)
"""Refusals of a server of another version: nothing was applied."""

_OF_THE_STORE: Final = (OwnershipLost, StoreUnavailable)
"""Failures that another engine may not have. A run may have had effects, and is then delivered again."""


def _verdict(failure: PerdureError, call: ServerCall) -> Verdict:
    if isinstance(failure, EngineClosed):
        # The engine is stopping: it has not accepted the request.
        return "later"
    if isinstance(failure, OutcomeUnknown):
        return "final" if call.repeat == "applies_again" else "later"
    if isinstance(failure, _OF_THE_STORE):
        return "final" if call.repeat == "applies_again" else "elsewhere"
    if isinstance(failure, Overloaded):  # a limit of the instance is the same everywhere
        # The limit of an instance is in its own row: each engine would refuse the request.
        return "final" if call.about and failure.what.endswith(call.about) else "elsewhere"
    if isinstance(failure, ServerUnreachable):  # a server that is not an engine
        return "elsewhere"
    return "elsewhere" if isinstance(failure, _OF_A_VERSION) else "final"
