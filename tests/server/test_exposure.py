"""Which access each address has."""

import pytest

from perdure.server.access import Tokens, access_to
from perdure.server.addresses import parse_bind
from perdure.values.errors import DefinitionError

TOKENS = Tokens.parse("shop read tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw")


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:80", "[::1]:80"])
def test_a_loopback_address_without_tokens_serves_local_programs(text: str):
    assert access_to(parse_bind(text), None) == "local"
    assert access_to(parse_bind(text), TOKENS) is TOKENS


@pytest.mark.parametrize("text", ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "jobs.example:80"])
def test_an_address_that_other_machines_reach_needs_tokens(text: str):
    with pytest.raises(DefinitionError, match="PERDURE_TOKENS"):
        access_to(parse_bind(text), None)
    assert access_to(parse_bind(text), TOKENS) is TOKENS


def test_a_unix_socket_is_for_its_owner():
    assert {access_to(parse_bind("unix:/run/jobs.sock"), tokens) for tokens in (None, TOKENS)} == {"owner_socket"}
