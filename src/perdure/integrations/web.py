"""What the web framework integrations share: the function that opens a client, and the response for an error."""

from __future__ import annotations

import base64
import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import orjson

from perdure.client.client import Client, gateway_of
from perdure.values.errors import DefinitionError, InvalidInput, PerdureError, Rejected
from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.times import Duration, duration_ms, format_duration
from perdure.wire.problems import MEDIA_TYPE, code_of, problem_of

OpenClient: TypeAlias = Callable[[], AbstractAsyncContextManager[Client]]
"""Opens a client: ``lambda: connect(url, orders)``, or ``lambda: app.open(store)`` for an engine in this process."""


RETRY_AFTER_S: Final = "1"
"""The ``Retry-After`` of a 503: an engine that restarts answers within a second."""

_log = logging.getLogger("perdure.integrations")

_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_PUBLIC: Final = ("type", "title", "status", "code")


@attrs.frozen(kw_only=True)
class ProblemResponse:
    """A problem (RFC 9457) as an HTTP response's parts.

    Attributes:
        body: the problem as JSON.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def problem_response(error: PerdureError, client: Client | None, /, *, request: str) -> ProblemResponse:
    """Return the response for an error, and log it if the web application's caller cannot fix it.

    Such a problem, with a status from 500, has no detail and no error fields: they can name your servers' paths, jobs
    and exceptions.

    Args:
        error: a call's error.
        client: the application's client, whose definitions encode the errors that they declare. None if it is not
            known.
        request: the web request's method and path, for the log.
    """
    problem: dict[str, Any] = problem_of(error, traceback=False)
    if problem["code"] == code_of(Rejected) and client is not None:
        problem = _declared(error, client, problem)
    status: int = problem["status"]
    if status >= _SERVER_ERROR:
        _log.error("%s failed: %s", request, error)
        problem = {name: problem[name] for name in _PUBLIC}
    retry = {"retry-after": RETRY_AFTER_S} if status == _UNAVAILABLE else {}
    return ProblemResponse(status=status, headers={"content-type": MEDIA_TYPE, **retry}, body=orjson.dumps(problem))


def _declared(error: PerdureError, client: Client, undeclared: dict[str, Any]) -> dict[str, Any]:
    """Describe a job's own error in its type's JSON, if the definitions that can encode it agree on the JSON.

    The error does not name its job. Its secrets are hidden.
    """
    described: list[dict[str, Any]] = []
    for job in gateway_of(client).definitions.values():
        codec = job.plan.errors
        problem = problem_of(error, codec, traceback=False)
        if codec is not None and "error" in problem:
            described.append({**problem, "error": orjson.loads(codec.redact(orjson.dumps(problem["error"])))})
    agreed = described and all(problem == described[0] for problem in described)
    return described[0] if agreed else undeclared


# ---------------------------------------------------------------- webhooks
MAX_SIGNATURES: Final = 16
"""The signatures that one webhook may carry: a sender that rotates its secret sends two."""

MAX_DIGITS: Final = 12
"""The digits of a signature's time in seconds."""

Scheme: TypeAlias = Literal["standard", "stripe", "github"]


@attrs.frozen(kw_only=True)
class VerifiedWebhook:
    """A webhook whose signature is valid.

    Attributes:
        id: the sender's id for this event, the same in each delivery: use it as the idempotency key.
        body: the body, as it was signed.
    """

    __repr__ = fields_in_line

    id: str
    body: bytes = attrs.field(repr=size_only)

    def json(self) -> Any:
        """Return the decoded body.

        Raises:
            InvalidInput: it is not JSON.
        """
        return _json(self.body)


@attrs.frozen(repr=False)
class WebhookVerifier:
    """Verifies the signatures of one sender's webhooks. Make it with `standard`, `stripe` or `github`.

    Attributes:
        scheme: how the sender signs.
        secrets: its secrets. Any of them is valid, so that you can rotate them.
        tolerance_ms: how far the time of the signature may be from the clock, in both directions.
        clock: the present, in seconds.
    """

    scheme: Scheme
    secrets: tuple[bytes, ...]
    tolerance_ms: int
    clock: Callable[[], float] = time.time

    @staticmethod
    def standard(*secrets: str, tolerance: Duration = "5 minutes") -> WebhookVerifier:
        """Verify webhooks of the Standard Webhooks specification, as Svix, OpenAI and others send them.

        Args:
            secrets: the secrets, each with the prefix ``whsec_``.
            tolerance: how far the signature's time may be from the clock.

        Raises:
            DefinitionError: a secret or the tolerance is not valid.
        """
        return _verifier("standard", tuple(map(_decoded, secrets)), tolerance)

    @staticmethod
    def stripe(*secrets: str, tolerance: Duration = "5 minutes") -> WebhookVerifier:
        """Verify Stripe's webhooks. The event's id is in the body.

        Args:
            secrets: the endpoint's secrets, as Stripe shows them.
            tolerance: how far the signature's time may be from the clock.

        Raises:
            DefinitionError: there is no secret, or the tolerance is not valid.
        """
        return _verifier("stripe", tuple(secret.encode() for secret in secrets), tolerance)

    @staticmethod
    def github(*secrets: str) -> WebhookVerifier:
        """Verify GitHub's webhooks. They carry no time: only the idempotency key refuses a replay.

        Args:
            secrets: the hook's secrets.

        Raises:
            DefinitionError: there is no secret.
        """
        return _verifier("github", tuple(secret.encode() for secret in secrets), "5 minutes")

    def verify(self, headers: Mapping[str, str], body: bytes, /) -> VerifiedWebhook:
        """Return the webhook, if one of its signatures is valid, and its time is near.

        Args:
            headers: the request's headers. Their case does not matter.
            body: the request's body, byte for byte.

        Raises:
            InvalidInput: the webhook is not valid. The message names the header, and no secret.
        """
        given = {name.lower(): value for name, value in headers.items()}
        match self.scheme:
            case "standard":
                id_, at_s = _header(given, "webhook-id"), _header(given, "webhook-timestamp")
                marked = [part.partition(",") for part in _header(given, "webhook-signature").split(" ")]
                # Others, such as v1a, need a public key.
                signatures = [value for version, _, value in marked if version == "v1"]
                self._check(signatures, f"{id_}.{at_s}.".encode() + body, at_s, base64_of)
                return VerifiedWebhook(id=id_, body=body)
            case "stripe":
                pairs = [part.partition("=") for part in _header(given, "stripe-signature").split(",")]
                at_s = next((value for name, _, value in pairs if name.strip() == "t"), "")
                signatures = [value for name, _, value in pairs if name.strip() == "v1"]
                self._check(signatures, f"{at_s}.".encode() + body, at_s, bytes.hex)
                return VerifiedWebhook(id=_id_in(body), body=body)
            case "github":
                id_, signed = _header(given, "x-github-delivery"), _header(given, "x-hub-signature-256")
                self._check([signed.removeprefix("sha256=")], body, None, bytes.hex)
                return VerifiedWebhook(id=id_, body=body)

    def _check(
        self, signatures: Sequence[str], signed: bytes, at_s: str | None, encode: Callable[[bytes], str]
    ) -> None:
        if len(signatures) > MAX_SIGNATURES:
            raise _refused(f"at most {MAX_SIGNATURES} signatures, not {len(signatures)}")
        right = [encode(hmac.digest(secret, signed, "sha256")).encode() for secret in self.secrets]
        # In constant time: how long a comparison takes must say nothing about the right signature.
        if not any(hmac.compare_digest(one, given.strip().encode()) for one in right for given in signatures):
            raise _refused("none of the signatures is that of this body with one of the secrets")
        if at_s is None:
            return
        # After the signature: the time of a body that no sender has signed says nothing.
        if not at_s.isdecimal() or len(at_s) > MAX_DIGITS:
            raise _refused(f"its time is {excerpt(at_s)}, not a number of seconds")
        age_ms = (self.clock() - int(at_s)) * 1_000
        if abs(age_ms) > self.tolerance_ms:
            when = f"{format_duration(int(abs(age_ms)))} {'ago' if age_ms > 0 else 'ahead'}"
            limit = format_duration(self.tolerance_ms)
            raise _refused(f"it was signed {when}, and the tolerance is {limit}; check the clock, or pass a tolerance")


def base64_of(digest: bytes) -> str:
    """Encode a signature as Standard Webhooks do."""
    return base64.b64encode(digest).decode()


def _verifier(scheme: Scheme, secrets: tuple[bytes, ...], tolerance: Duration) -> WebhookVerifier:
    if not all(secrets) or not secrets:
        raise DefinitionError(f"secrets of {scheme} webhooks", "no secret", "at least one, none of them empty")
    return WebhookVerifier(scheme, secrets, duration_ms(tolerance, what=f"tolerance of {scheme} webhooks"))


def _decoded(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        # The secret itself stays out of the message.
        raise DefinitionError("secret of standard webhooks", "other text", "whsec_ and the secret in base64") from None


def _header(headers: Mapping[str, str], name: str) -> str:
    found = headers.get(name, "")
    if not found:
        raise _refused(f"it has no header {name}")
    return found


def _id_in(body: bytes) -> str:
    found = _json(body)
    id_ = cast("dict[str, object]", found).get("id") if isinstance(found, dict) else None
    if not isinstance(id_, str) or not id_:
        raise _refused("its body has no id")
    return id_


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _refused("its body is not JSON") from error


def _refused(why: str) -> InvalidInput:
    return InvalidInput("webhook", (why,))
