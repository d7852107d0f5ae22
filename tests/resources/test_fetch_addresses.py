"""Only public addresses are connected to, and those that the installation names."""

import ipaddress

import pytest

from resources.fetch_addresses import AllowList, WebAccess, forbidden_kind
from resources.settings import Settings
from training_kernels.errors import ConfigError

FORBIDDEN = {
    "127.0.0.1": "loopback",
    "127.255.3.4": "loopback",
    "0.0.0.0": "unspecified",
    "10.0.0.7": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "169.254.169.254": "link-local",
    "100.64.0.1": "shared or special",
    "100.100.100.200": "shared or special",
    "168.63.129.16": "shared or special",
    "224.0.1.1": "multicast",
    "240.0.0.1": "private",
    "255.255.255.255": "private",
    "::1": "loopback",
    "::": "unspecified",
    "fe80::1%eth0": "link-local",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fec0::1": "not a public unicast",
    "ff02::1": "multicast",
    "2001:db8::1": "private",
    "::127.0.0.1": "reserved",
    "::ffff:127.0.0.1": "loopback (127.0.0.1)",
    "::ffff:169.254.169.254": "link-local (169.254.169.254)",
    "64:ff9b::7f00:1": "loopback (127.0.0.1)",
    "64:ff9b::a00:7": "private (10.0.0.7)",
    "2002:7f00:1::": "loopback (127.0.0.1)",
    "2001:0:7f00:1::1": "private",
}
FORBIDDEN_BY_ANY_NAME = ["192.0.0.192", "192.88.99.1", "64:ff9b:1::808:808"]
"""What Python calls these differs between its versions."""
PUBLIC = ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize(("text", "kind"), FORBIDDEN.items())
def test_an_address_that_is_not_public_is_forbidden_by_kind(text, kind):
    assert forbidden_kind(ipaddress.ip_address(text)) == kind


@pytest.mark.parametrize("text", FORBIDDEN_BY_ANY_NAME)
def test_a_special_address_is_forbidden_whatever_python_calls_it(text):
    assert forbidden_kind(ipaddress.ip_address(text)) is not None


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_not_forbidden(text):
    assert forbidden_kind(ipaddress.ip_address(text)) is None


def test_the_allow_list_takes_names_and_networks_and_nothing_beyond_them():
    allow = AllowList.from_text(" Intranet.Example, 10.1.0.0/16 ,,::1")
    at = ipaddress.ip_address
    assert allow.allows("intranet.example", at("192.168.0.9"))
    assert allow.allows("INTRANET.example.", at("192.168.0.9"))
    assert allow.allows("any.test", at("10.1.200.1"))
    assert allow.allows("any.test", at("::ffff:10.1.200.1"))
    assert allow.allows("any.test", at("::1"))
    assert not allow.allows("sub.intranet.example", at("192.168.0.9"))
    assert not allow.allows("any.test", at("10.2.0.1"))
    assert not allow.allows("any.test", at("127.0.0.1"))


@pytest.mark.parametrize("text", ["10.1.0.0/33", "http://a.example", "10.1.0.7/16", "a b"])
def test_a_part_of_the_allow_list_that_is_neither_name_nor_network_is_an_error(text):
    with pytest.raises(ConfigError, match="separated by commas"):
        AllowList.from_text(f"ok.example, {text}")


@pytest.mark.parametrize("contact", ["", "somebody", "https://a.example/\r\nX: y", "mailto:é@a.example"])
def test_a_contact_that_cannot_stand_in_a_user_agent_is_an_error(contact):
    with pytest.raises(ConfigError, match="NYX_FETCH_CONTACT"):
        WebAccess(contact=contact, allow=AllowList.from_text(""))


def test_nothing_is_fetched_unless_the_environment_says_so():
    assert Settings.from_env({}).web is None
    assert Settings.from_env({"NYX_FETCH": "off", "NYX_FETCH_CONTACT": "mailto:a@b.example"}).web is None
    on = {"NYX_FETCH": "on", "NYX_FETCH_CONTACT": "mailto:a@b.example", "NYX_FETCH_ALLOW": "10.0.0.0/8"}
    assert Settings.from_env(on).web == WebAccess(contact="mailto:a@b.example", allow=AllowList.from_text("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("env", "named"),
    [({"NYX_FETCH": "yes"}, "NYX_FETCH must be off or on"), ({"NYX_FETCH": "on"}, "NYX_FETCH_CONTACT")],
)
def test_an_environment_that_fetches_half_is_an_error_that_names_the_variable(env, named):
    with pytest.raises(ConfigError, match=named):
        Settings.from_env(env)
