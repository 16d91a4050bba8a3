"""The rate of requests of one client."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.server.admission import Rates, client_key


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab")), max_size=200),
)
def test_no_client_exceeds_its_rate_and_a_wait_is_exact(per_second: int, burst: int, steps: list[tuple[int, str]]):
    rates, now, accepted = Rates(per_second, burst), 0, {"a": list[int](), "b": list[int]()}
    for pause, client in steps:
        now += pause
        wait = rates.wait_ms(client, now)
        if wait == 0:
            accepted[client].append(now)
        else:
            assert 0 < wait <= 1_000 / per_second + 1e-6
    for times in accepted.values():
        for first, begin in enumerate(times):
            for count, end in enumerate(times[first:], 1):
                assert count <= burst + (end - begin) * per_second / 1_000 + 1e-6


def test_a_client_that_waits_for_retry_after_is_accepted():
    rates = Rates(per_second=4, burst=2)
    assert [rates.wait_ms("a", 0) for _ in range(3)] == [0, 0, 250]
    assert rates.wait_ms("b", 0) == 0
    assert rates.wait_ms("a", 249) > 0
    assert rates.wait_ms("a", 250) == 0


def test_the_number_of_buckets_is_limited():
    rates = Rates(1, 1, max_clients=3)
    for number in range(100):
        rates.wait_ms(str(number), 0)
    assert len(rates) == 3
    assert rates.wait_ms("99", 0) > 0


def test_a_network_of_ipv6_is_one_client():
    assert client_key("2001:db8:1:2:3:4:5:6") == client_key("2001:db8:1:2::1") != client_key("2001:db8:1:3::1")
    assert client_key("::ffff:192.0.2.1") == client_key("192.0.2.1") != client_key("192.0.2.2")
    assert client_key("testclient") == "testclient"
