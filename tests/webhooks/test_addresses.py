"""Where a webhook may go: every spelling of a forbidden place, and names that change their mind."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import cast

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
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

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
LAN: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

# Hosts that some reader of URLs takes for a forbidden place, by the trick they play.
EVIL_HOSTS = {
    "loopback": ["127.0.0.1", "127.1.2.3", "127.255.255.254", "[::1]", "[0:0:0:0:0:0:0:1]"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "[::]"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "[fd00::1]", "[fc00::]"],
    "link-local": ["169.254.0.1", "[fe80::1]", "[febf::1]", "[fec0::1]"],
    "metadata": [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "metadata.google.internal",
        "metadata",
    ],
    "carrier's NAT": ["100.64.0.1", "100.127.255.255"],
    "special use": ["192.0.0.8", "192.88.99.1", "198.18.0.1", "198.19.255.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[3fff::1]"],
    "multicast": ["224.0.0.1", "239.255.255.250", "[ff02::1]", "[ff0e::1]"],
    "reserved": ["240.0.0.1", "255.255.255.255", "[4000::1]", "[100::1]", "[5f00::1]"],
    "decimal": ["2130706433", "0", "4294967295", "3232235777", "127.1", "127.0.1", "1", "10.1"],
    "octal": ["0177.0.0.1", "017700000001", "00177.0.0.1", "127.0.0.01", "010.0.0.1", "00.0.0.0"],
    "hexadecimal": ["0x7f000001", "0x7f.0.0.1", "0x7f.1", "0X7F.0X0.0X0.0X1", "127.0.0.0x1", "0x"],
    "mixed": ["0x7f.0.0.01", "127.0x1", "0xa9.254.0251.254", "1.2.3.0x"],
    "number but no address": ["256.0.0.1", "1.2.3.4.5", "999999999999", "a.1", "example.42", "08"],
    "public in a strange spelling": ["134744072", "8.8.2056", "0x8.8.8.8", "08.8.8.8"],
    "mapped": ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:10.0.0.1]", "[::ffff:a9fe:a9fe]"],
    "compatible": ["[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]"],
    "6to4": ["[2002:7f00:1::]", "[2002:808:808::1]"],
    "NAT64": ["[64:ff9b::127.0.0.1]", "[64:ff9b::a00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]"],
    "Teredo": ["[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[2001::1]"],
    "zone": ["[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%25lo]", "[::1%1]", "[2600::1%25eth0]"],
    "malformed IPv6": ["[::1", "::1", "[::1]]", "[[::1]]", "[v1.a]", "[]", "[127.0.0.1]", "[:::]"],
    "trailing dot": ["127.0.0.1.", "localhost.", "example.com.", "example.com..", "2130706433."],
    "local name": [
        "localhost",
        "LocalHost",
        "a.localhost",
        "printer.local",
        "vault.internal",
        "nas.lan",
        "router.home",
        "x.home.arpa",
        "lnd",
        "localhost.localdomain",
        "ad.corp",
        "hidden.onion",
    ],
    "no name": ["", ".", "..", "a..b.com", ".example.com", "-a.com", "a-.com", "a" * 64 + ".com"],
    "too long": [".".join(["abcdefgh"] * 29) + ".com"],
    "percent": ["%31%32%37.0.0.1", "127%2e0%2e0%2e1", "ex%61mple.com", "127.0.0.1%00.com", "%6c"],
    "credentials": [
        "user@example.com",
        "user:password@example.com",
        "@example.com",
        "example.com@127.0.0.1",
        "127.0.0.1@example.com",
        "example.com:80@127.0.0.1",
        "a@b@127.0.0.1",
    ],
    "two hosts": [
        "example.com#@127.0.0.1",
        "127.0.0.1#.example.com",
        "example.com\\@127.0.0.1",
        "127.0.0.1\\.example.com",
        "example.com\\.127.0.0.1",
        "example.com;127.0.0.1",
        "example.com,127.0.0.1",
        "example.com&127.0.0.1",
        "example.com:80:127.0.0.1",
        "127.0.0.1:80,example.com",
    ],
    "white space": [
        " 127.0.0.1",
        "127.0.0.1 ",
        "exa mple.com",
        "127.0.0.1\t",
        "127.0.0.1\n",
        "example.com\r\nhost: 127.0.0.1",
        "127.0.0.1\x00",
        "example.com\x0b",
        "127\u200b.0.0.1",
        "127.0.0.1\u00a0",
    ],
    "unicode": [
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11",  # full-width digits
        "127\u30020\u30020\u30021",  # ideographic full stops
        "127\uff0e0\uff0e0\uff0e1",  # full-width full stops
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",  # circled digits
        "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",  # circled letters
        "loc\u00adalhost",  # soft hyphen
        "b\u00fccher.example.com",  # not in its xn-- form
        "exam\u202eple.com",  # from right to left
        "\u017fpecial.com",  # long s
        "\u212a.com",  # Kelvin sign
        "\u0661\u0662\u0667.0.0.1",  # Arabic digits
    ],
    "port": [
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:999999",
        "example.com:-1",
        "example.com:80a",
        "example.com:0x50",
        "example.com:\uff18\uff10",
        "[2600::1]:",
        "[2600::1]80",
    ],
}

EVIL_URLS = [
    "",
    " ",
    "https",
    "https:",
    "https:/",
    "https://",
    "https:///",
    "https:///example.com/",
    "https:example.com",
    "https:/example.com",
    "//example.com/",
    "/webhooks",
    "example.com",
    "example.com:443/x",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/_x",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:,x",
    "httpss://example.com/",
    "https ://example.com/",
    " https://example.com/",
    "https://example.com/ ",
    "https://example.com/a b",
    "https://example.com/a\nb",
    "https://example.com/\x7f",
    "https://example.com/ü",
    "https://example.com/\\..\\x",
    "https://example.com/#fragment",
    "https://example.com#",
    "https:\\\\example.com\\",
    "https://?host=127.0.0.1",
    "https://example.com/" + "a" * 2_048,
    "http://example.com/",
    "http://8.8.8.8/",
    "HTTP://example.com/",
]


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
    for address in ("169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"):
        assert not is_allowed(ip_address(address), everything)


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


class Scripted(AbstractResolver):
    """Gives the addresses of one lookup after another."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0)
            for a in answer
        ]

    async def close(self) -> None:
        pass


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
