import pytest

from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "localhost",
     "x.localhost", "LOCALHOST"],
)  # fmt: skip
def test_private_addresses_are_not_asked_on_the_word_of_a_document(host: str) -> None:
    with pytest.raises(NotAllowed, match="private address"):
        AddressPolicy().check_url(f"http://{host}/w")
    AddressPolicy(frozenset({host.lower().strip("[]")})).check_url(f"http://{host}/w")


@pytest.mark.parametrize("host", ["a.example", "93.184.216.34", "[2606:2800:220:1::1]"])
def test_public_hosts_are_asked(host: str) -> None:
    AddressPolicy().check_url(f"https://{host}/w")


def test_on_loopback_nothing_outside_of_this_machine_is_asked() -> None:
    with pytest.raises(NotAllowed, match="not on this machine"):
        AddressPolicy(frozenset({"93.184.216.34"}), only_loopback=True).check_url("https://93.184.216.34/")


def test_a_redirection_from_https_to_http_is_refused() -> None:
    policy = AddressPolicy()
    policy.check_url("https://b.example/w", before="http://a.example/w")
    policy.check_url("https://b.example/w", before="https://a.example/w")
    with pytest.raises(NotAllowed, match="https to http"):
        policy.check_url("http://b.example/w?token=1", before="https://a.example/w")
