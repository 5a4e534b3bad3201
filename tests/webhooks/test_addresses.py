"""Where a webhook may go: every spelling of a forbidden place, and names that change their mind."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulgurite.errors import UnsafeUrlError
from nodes.webhooks.addresses import (
    GuardedResolver,
    Network,
    check_url,
    guarded_socket,
    is_allowed,
)
from tests.webhooks.endpoints import Scripted
from tests.webhooks.evil_urls import EVIL_HOSTS, EVIL_URLS

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
LAN: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    "host", [pytest.param(h, id=f"{trick}: {h!r}") for trick, hs in EVIL_HOSTS.items() for h in hs]
)
def test_no_url_leads_to_a_forbidden_host_whatever_its_spelling(host: str) -> None:
    for scheme in ("https", "http"):
        with pytest.raises(UnsafeUrlError):
            check_url(f"{scheme}://{host}/webhooks")


@pytest.mark.parametrize("url", EVIL_URLS, ids=repr)
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://example.com", "example.com", 443),
        ("HTTPS://Example.COM/Hooks?key=Value", "example.com", 443),
        ("https://hooks.example.com:8443/a/b?c=d&e=[f]", "hooks.example.com", 8443),
        ("https://example.com:65535/", "example.com", 65535),
        ("https://xn--bcher-kva.example.com/", "xn--bcher-kva.example.com", 443),
        ("https://a_b.example.com/", "a_b.example.com", 443),
        ("https://7.example.com/%41%2f..%2f", "7.example.com", 443),
        ("https://0x7f.1.example/", "0x7f.1.example", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111", 443),
        ("https://[2606:4700:4700:0:0:0:0:1111]:1/", "2606:4700:4700::1111", 1),
        ("https://[64:ff9b::8.8.8.8]/", "64:ff9b::808:808", 443),
    ],
)
def test_a_public_https_url_is_read_as_it_will_be_connected(url: str, host: str, port: int) -> None:
    read = check_url(url)
    assert (read.raw_host, read.port, read.scheme) == (host, port, "https")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/x",
        "https://127.0.0.1/x",
        "http://[::1]/x",
        "http://localhost/x",
        "http://receiver/x",
        "http://example.com/x",
        "http://[::ffff:127.0.0.1]/x",
    ],
)
def test_the_allow_list_opens_loopback_and_http_for_development(url: str) -> None:
    assert check_url(url, LOOPBACK).port


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/x",
        "https://10.0.0.1/x",
        "http://8.8.8.8/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "http://169.254.169.254/x",
        "http://user@127.0.0.1/x",
    ],
)
def test_the_allow_list_opens_nothing_else(url: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_url(url, LOOPBACK)


def test_metadata_services_are_refused_inside_every_allow_list() -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert is_allowed(ip_address("10.0.0.1"), everything)
    for address in (
        "169.254.169.254",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "fd00:ec2::254%1",
    ):
        assert not is_allowed(ip_address(address), everything)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/", "begins with https://"),
        ("ftp://example.com/", "looks like https://host/path"),
        ("https://exa mple.com/", "without spaces"),
        ("https://b\u00fccher.example.com/", "xn-- form"),
        ("https://example.com/#a", "no fragment"),
        ("https://user@example.com/", "no user and password"),
        ("https://ex%61mple.com/", "a name, an IPv4 address or an"),
        ("https://example.com:0/", "from 1 to 65535"),
        ("https://127.1/", "four decimal numbers"),
        ("https://[::g]/", "a name, an IPv4 address or an"),
        ("https://[::1::2]/", "no IPv6 address"),
        ("https://example.com./", "none at the end"),
        ("https://vault.internal/", "allow_networks"),
        ("https://10.0.0.1/", "allow_networks"),
        (f"https://example.com/{'a' * 2_048}", "at most 2048 characters"),
    ],
)
def test_a_refusal_says_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(UnsafeUrlError, match=re.escape(says)):
        check_url(url)


def test_a_refusal_says_what_to_do_and_keeps_path_and_query() -> None:
    for url in ("https://10.0.0.1/s3cret?token=s3cret", "https://lan/s3cret?token=s3cret"):
        with pytest.raises(UnsafeUrlError, match="allow_networks") as refused:
            check_url(url)
        assert "s3cret" not in str(refused.value)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_clothing(address: IPv4Address) -> None:
    public = is_allowed(address)
    assert is_allowed(IPv6Address(f"::ffff:{address}")) == public
    assert is_allowed(IPv6Address(f"64:ff9b::{address}")) <= public
    assert not is_allowed(IPv6Address(f"::{address}"))
    assert not is_allowed(IPv6Address(int(IPv6Address("2002::")) | int(address) << 80))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_only_what_python_too_calls_global_is_public(address: IPv4Address | IPv6Address) -> None:
    if is_allowed(address):
        assert address.is_global or address.ipv4_mapped  # type: ignore[union-attr] # IPv6 alone
        assert not address.is_multicast
        assert not address.is_loopback


@given(st.ip_addresses(v=4).filter(lambda address: not is_allowed(address)), st.data())
def test_no_numeric_spelling_of_a_forbidden_address_passes(
    address: IPv4Address, data: st.DataObject
) -> None:
    """Whatever libc reads as that address, with one to four parts in any of its bases."""
    number, parts = int(address), data.draw(st.integers(1, 4))
    tail = 8 * (5 - parts)
    values = [number >> shift & 0xFF for shift in range(24, tail - 8, -8)]
    values.append(number & (1 << tail) - 1)
    styles = st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "000{:o}"])
    host = ".".join(data.draw(styles).format(value) for value in values)
    assert socket.inet_aton(host) == address.packed
    with pytest.raises(UnsafeUrlError):
        check_url(f"https://{host}/")


@given(st.text())
def test_any_text_is_a_safe_url_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://example.com{text}"):
        try:
            read = check_url(url)
        except UnsafeUrlError:
            continue
        assert read.scheme == "https"
        assert read.raw_host


async def test_a_name_with_one_forbidden_answer_is_refused_whole() -> None:
    resolver = GuardedResolver(Scripted(["8.8.8.8", "2606:4700::1111", "10.0.0.7"]))
    with pytest.raises(UnsafeUrlError, match=r"hooks\.example\.com leads to 10\.0\.0\.7"):
        await resolver.resolve("hooks.example.com", 443)


async def test_a_name_with_public_answers_alone_is_looked_up_once() -> None:
    names = Scripted(["8.8.8.8", "2606:4700::1111"])
    found = await GuardedResolver(names).resolve("hooks.example.com", 443)
    assert [answer["host"] for answer in found] == ["8.8.8.8", "2606:4700::1111"]
    assert names.asked == 1


async def test_by_http_only_the_allow_list_is_reached() -> None:
    resolver = GuardedResolver(Scripted(["127.0.0.1"], ["8.8.8.8"]), LOOPBACK, public=False)
    assert await resolver.resolve("receiver", 80)
    with pytest.raises(UnsafeUrlError, match="allow_networks"):
        await resolver.resolve("receiver", 80)


async def test_an_answer_that_is_no_address_is_refused() -> None:
    for answer in ("", "localhost", "127.1", "fe80::1%eth0", "::1%lo"):
        with pytest.raises(UnsafeUrlError):
            await GuardedResolver(Scripted([answer])).resolve("hooks.example.com", 443)


async def test_a_name_without_answers_is_an_error_of_the_lookup() -> None:
    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(Scripted([])).resolve("hooks.example.com", 443)


def test_no_socket_is_made_for_a_forbidden_address() -> None:
    make = guarded_socket(LAN)
    for host in ("127.0.0.1", "169.254.169.254", "127.1", ""):
        with pytest.raises(PermissionError):
            make((socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 443)))
    with make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 443))) as made:
        assert cast("int", made.type) == socket.SOCK_STREAM
