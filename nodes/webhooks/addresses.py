"""Where a webhook may go. Judged twice: the URL when it is configured, the address when connected.

A URL comes from outside and can name our own network (SSRF): loopback, the LAN, a cloud's
metadata service, LND itself. No list of evil spellings is ever complete, so little is let
through: plain ASCII names, IP literals in their one canonical form, and in the end only
addresses that are public, whichever name or spelling led there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from fulgurite.errors import UnsafeUrlError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_URL = 2_048
_MAX_HOST = 253
_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986 allows far more: user names, percent-encoding, future address forms. Each is a
# place where two readers of one URL have come to see two hosts.
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?]+)(?:[/?].*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

# libc takes a name whose last label is a number for an address: 127.1, 0177.0.0.1, 0x7f000001.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")

# Names that mean something on the own machine or network only (RFC 6761, RFC 6762, RFC 8375,
# ICANN's list of names that will never be delegated, and what routers and clouds use).
_LOCAL_SUFFIXES = frozenset(
    {
        "localhost",
        "localdomain",
        "local",
        "internal",
        "intranet",
        "private",
        "corp",
        "home",
        "lan",
        "mail",
        "home.arpa",
        "onion",
    }
)

# The special-purpose registries of the IANA, beside what Python's `is_global` knows: it
# differs from release to release, and counts multicast and the transition relays as global.
_SPECIAL = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # behind a carrier's NAT; also clouds' inner services
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local; clouds' metadata services
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "2001::/23",  # protocol assignments, among them Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address in IPv6 clothes
            "3fff::/20",  # documentation
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that is given out; the rest is special
_NAT64 = IPv6Network("64:ff9b::/96")  # leads to the IPv4 address in its last 32 bits

# Where clouds hand credentials to whoever asks. Refused inside the allow-list, too: nobody
# receives webhooks there, and an allow-list is easily drawn too wide.
_METADATA = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "192.0.0.192",
            "fd00:ec2::23",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
    )
)


def check_url(url: str, allow: Sequence[Network] = ()) -> URL:
    """The URL as the HTTP client reads it, safe to be configured; nothing is looked up.

    Without `allow`, only https to a public name or address. With it, for development, also
    what is inside; then http is let through as well, but for `allow` alone. What a name
    leads to is judged when it is connected, by `GuardedResolver`. Raises UnsafeUrlError,
    which tells no more of the URL than its host: path and query can hold a secret.
    """
    scheme, host, port = _parts(url)
    if scheme == "http" and not allow:
        raise UnsafeUrlError(
            "a webhook's URL begins with https://: http goes only to allow_networks, "
            "for development"
        )
    literal = _literal(host)
    if literal is None:
        _check_name(host, local=bool(allow))
    elif not is_allowed(literal, allow, public=scheme == "https"):
        leads = f"the URL leads to {literal}"
        raise UnsafeUrlError(_refusal(leads, public=scheme == "https"))
    return _as_connected(url, scheme, host, port)


def is_allowed(address: Address, allow: Iterable[Network] = (), *, public: bool = True) -> bool:
    """Whether a webhook may be sent there: inside `allow`, or, with `public`, public unicast.

    An IPv4 address mapped into IPv6 is judged as what it is: connecting to
    ::ffff:127.0.0.1 is connecting to 127.0.0.1. One that a NAT64 gateway translates is public
    where what it ends at is. One with a zone is of the own link.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return False
        address = address.ipv4_mapped or address
    end: Address = IPv4Address(address.packed[-4:]) if address in _NAT64 else address
    if end in _METADATA:
        return False
    if any(address in network for network in allow):
        return True
    return public and _is_public(end)


class GuardedResolver(AbstractResolver):
    """Looks names up through another resolver, and refuses a name with any forbidden answer.

    The HTTP client connects to the very answers judged here and never asks again, so that a
    name that changes its mind (DNS rebinding) gains nothing.
    """

    def __init__(
        self, resolver: AbstractResolver, allow: Sequence[Network] = (), *, public: bool = True
    ) -> None:
        self._resolver = resolver
        self._allow = tuple(allow)
        self._public = public

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises UnsafeUrlError, and OSError for a name without an address."""
        answers = await self._resolver.resolve(host, port, family)
        if not answers:
            raise OSError("the name has no address")
        for answer in answers:
            if not _may_connect(answer["host"], self._allow, public=self._public):
                leads = f"{host} leads to {answer['host']}"
                raise UnsafeUrlError(_refusal(leads, public=self._public))
        return answers

    async def close(self) -> None:
        await self._resolver.close()


def guarded_socket(
    allow: Sequence[Network] = (), *, public: bool = True
) -> Callable[[AddrInfoType], socket.socket]:
    """Makes the sockets of a connector; the last word before a connection.

    The client asks no resolver about IP literals, and this about everything. Raises OSError
    where the address is refused, as a socket does that cannot be made.
    """

    def make(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, destination = address
        if not _may_connect(str(destination[0]), allow, public=public):
            raise PermissionError(_refusal(f"the URL leads to {destination[0]}", public=public))
        return socket.socket(family, kind, protocol)

    return make


def _parts(url: str) -> tuple[str, str, int | None]:
    """Scheme, host (an IPv6 literal with its brackets) and port, in lower case."""
    if len(url) > _MAX_URL:
        raise UnsafeUrlError(f"a webhook's URL has at most {_MAX_URL} characters")
    if not all("!" <= character <= "~" for character in url) or "\\" in url:
        raise UnsafeUrlError(
            "a webhook's URL is plain ASCII without spaces and backslashes: write an "
            "international name in its xn-- form, and encode the rest with %"
        )
    if "#" in url:
        raise UnsafeUrlError("a webhook's URL has no fragment: take away what follows #")
    outer = _URL.fullmatch(url)
    if not outer:
        raise UnsafeUrlError("a webhook's URL looks like https://host/path")
    authority = outer["authority"].lower()
    if "@" in authority:
        raise UnsafeUrlError(
            "a webhook's URL has no user and password: receivers trust the signature"
        )
    inner = _AUTHORITY.fullmatch(authority)
    if not inner:
        raise UnsafeUrlError(
            "the URL's host is a name, an IPv4 address or an [IPv6 address], with an optional :port"
        )
    port = int(inner["port"]) if inner["port"] else None
    if port is not None and not 1 <= port <= 65_535:
        raise UnsafeUrlError("the URL's port is a number from 1 to 65535")
    return outer["scheme"].lower(), inner["host"], port


def _literal(host: str) -> Address | None:
    """The address that `host` is; None for a name. Raises for a spelling that is not plain."""
    if host.startswith("["):
        try:
            return IPv6Address(host[1:-1])
        except ValueError:
            raise UnsafeUrlError(f"{host} is no IPv6 address") from None
    if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return None
    try:
        return IPv4Address(host)
    except ValueError:
        raise UnsafeUrlError(
            f"{host} is no plain IPv4 address: write four decimal numbers, as in 192.0.2.1"
        ) from None


def _check_name(host: str, *, local: bool) -> None:
    labels = host.split(".")
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise UnsafeUrlError(
            "the URL's host is no host name: labels of letters, digits and hyphens, "
            "with one dot between and none at the end"
        )
    # A single label is looked up in the search domains of the machine: a name of the inside.
    suffixes = {".".join(labels[start:]) for start in range(len(labels))}
    if not local and (len(labels) == 1 or suffixes & _LOCAL_SUFFIXES):
        raise UnsafeUrlError(
            f"{host} is a name of a local network: use a public name, or for development "
            "put the receiver's network into allow_networks"
        )


def _as_connected(url: str, scheme: str, host: str, port: int | None) -> URL:
    """The client's own reading of `url`. It must be ours: it is what will be connected to."""
    try:
        read = URL(url)
        theirs = (read.scheme, _plain(read.raw_host or ""), read.port)
    except ValueError:
        raise UnsafeUrlError(f"the HTTP client cannot read the URL of {host}") from None
    if theirs != (scheme, _plain(host), port or _DEFAULT_PORTS[scheme]):
        raise UnsafeUrlError(f"the HTTP client reads another host than {host} in the URL")
    return read


def _plain(host: str) -> str:
    """One spelling for each host: IPv6 addresses have many."""
    bare = host.removeprefix("[").removesuffix("]")
    return str(IPv6Address(bare)) if ":" in bare else bare


def _may_connect(text: str, allow: Iterable[Network], *, public: bool) -> bool:
    try:
        return is_allowed(ip_address(text), allow, public=public)
    except ValueError:
        return False


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def _refusal(leads: str, *, public: bool) -> str:
    """Why, and what to do about it."""
    if not public:
        return f"{leads}, which is not in allow_networks: by http no webhook goes elsewhere"
    return (
        f"{leads}, where no webhook may go: use a public address, or for development put the "
        "receiver's network into allow_networks"
    )
