"""What ends up in a container's /etc/hostname, /etc/hosts and /etc/resolv.conf, and in names.

These files have a line for each thing and words between blanks: a value with a newline or a blank
in it would be another entry, which nobody asked for by its name (``--dns`` from a form, written by
somebody else). So each of them is one word, and an address is one.
"""

from __future__ import annotations

import ipaddress
import re

from sampan.errors import InvalidArgument
from sampan.store.records import ContainerSpec

HOSTNAME_MOST = 63
"""Characters: the kernel's limit is 64 with the end."""
DOMAIN_MOST = 253
_WORD = re.compile(r"[^\s\x00-\x20\x7f#;]+")
_SEPARATOR = re.compile("[:=]")
GATEWAY = "host-gateway"


def validate_names(spec: ContainerSpec) -> None:
    """Raises InvalidArgument: with the value, and what it should have been."""
    if len(spec.hostname) > HOSTNAME_MOST:
        raise InvalidArgument(
            f"invalid hostname: {spec.hostname}: at most {HOSTNAME_MOST} characters"
        )
    _word("hostname", spec.hostname)
    _word("domainname", spec.domainname, at_most=DOMAIN_MOST)
    validate_resolver(spec.host.dns, spec.host.dns_search, spec.host.dns_options)
    validate_extra_hosts(spec.host.extra_hosts)
    validate_links(spec.host.links)


def validate_resolver(
    servers: tuple[str, ...], search: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """What goes into resolv.conf. Raises InvalidArgument."""
    for server in servers:
        if not _is_address(server):
            raise InvalidArgument(f"invalid DNS server: {server!r} is not an IP address")
    for domain in search:
        _word("DNS search domain", domain, at_most=DOMAIN_MOST)
    for option in options:
        _word("DNS option", option)


def validate_extra_hosts(entries: tuple[str, ...]) -> None:
    """``name:address`` or ``name=address``. Raises InvalidArgument."""
    for entry in entries:
        # The first of the two: an IPv6 address has colons of its own.
        name, address = (*_SEPARATOR.split(entry, maxsplit=1), "")[:2]
        if not address or not _WORD.fullmatch(name):
            raise InvalidArgument(
                f"bad format for add-host: {entry!r}: it is a name, a colon and an address"
            )
        if address != GATEWAY and not _is_address(address.removeprefix("[").removesuffix("]")):
            raise InvalidArgument(
                f"invalid IP address in add-host: {address!r}: an address or {GATEWAY}"
            )


def validate_aliases(aliases: tuple[str, ...]) -> None:
    """Other names of a container on a network. Raises InvalidArgument."""
    for alias in aliases:
        _word("network alias", alias, at_most=DOMAIN_MOST)


def validate_links(links: tuple[str, ...]) -> None:
    """``CONTAINER[:ALIAS]``. Raises InvalidArgument."""
    for link in links:
        name, _, alias = link.partition(":")
        _word("link", name)
        _word("link alias", alias, at_most=DOMAIN_MOST)
        if ":" in alias or "=" in alias:
            raise InvalidArgument(f"invalid link {link[:80]!r}: write it as CONTAINER:ALIAS")


def validate_address(wanted: str, version: int) -> None:
    """An address of IP ``version`` (4 or 6) that a container wishes for. Raises InvalidArgument."""
    try:
        good = ipaddress.ip_address(wanted).version == version
    except ValueError:
        good = False
    if not good or not _WORD.fullmatch(wanted):
        raise InvalidArgument(f"invalid address {wanted[:80]!r}: it is not an IPv{version} address")


def _word(what: str, value: str, *, at_most: int = 255) -> None:
    if value and not _WORD.fullmatch(value):
        raise InvalidArgument(
            f"invalid {what}: {value[:80]!r}: it is one word, without blanks, newlines, '#' and ';'"
        )
    if len(value) > at_most:
        raise InvalidArgument(f"invalid {what}: {value[:80]!r}...: at most {at_most} characters")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    # A zone may be any text to the library, and is an interface's name to the resolver.
    return bool(_WORD.fullmatch(text))
