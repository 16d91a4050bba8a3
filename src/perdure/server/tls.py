"""TLS: the certificate of a server."""

from __future__ import annotations

import os
import ssl
from typing import Final

from perdure.values.errors import DefinitionError

HANDSHAKE_TIMEOUT_S: Final = 10
"""How long a client may take for its handshake."""


def tls_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Return the settings of TLS for a server: version 1.2 or later, and the ciphers that Python recommends.

    Args:
        certificate: the path of the certificate chain, in PEM.
        key: the path of its private key, without a passphrase; by default it is in the file of the certificate.

    Raises:
        DefinitionError: a file cannot be read, is no certificate or key, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = ", ".join(os.fspath(path) for path in (certificate, key) if path is not None)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise DefinitionError("TLS certificate and key", files, f"a chain and its key in PEM ({reason})") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # the default would ask for it on the terminal
