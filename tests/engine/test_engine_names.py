"""Names and addresses that end up in files of a container are one word each, or are refused."""

from __future__ import annotations

import pytest

from sampan.engine.spec.validate_names import validate_aliases, validate_names
from sampan.errors import InvalidArgument
from sampan.store.records import ContainerSpec, HostConfig


def check(host: HostConfig | None = None, **fields: str) -> None:
    validate_names(
        ContainerSpec(image="i", args=("x",), host=host or HostConfig(), **fields)  # type: ignore[arg-type]
    )


def test_what_people_write_is_taken() -> None:
    check(hostname="web-1.example.org", domainname="example.org")
    check(
        HostConfig(
            dns=("1.1.1.1", "2001:db8::1", "fe80::1%eth0"),
            dns_search=(".", "example.org"),
            dns_options=("ndots:2", "use-vc"),
            extra_hosts=("a:1.2.3.4", "b=::1", "c:[::1]", "d:host-gateway", "e_f:2001:db8::2"),
            links=("db", "db:database"),
        )
    )


@pytest.mark.parametrize(
    "text", ["a\nb", "a b", "a\tb", "a\r", "a#b", "a;b", "\n", "a\x0bb", "a\u2028b"]
)
@pytest.mark.parametrize("field", ["hostname", "domainname"])
def test_a_hostname_is_a_word(field: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        check(**{field: text})


@pytest.mark.parametrize(
    "host",
    [
        HostConfig(dns=("1.1.1.1\nnameserver 6.6.6.6",)),
        HostConfig(dns=("example.org",)),
        HostConfig(dns=("",)),
        HostConfig(dns=("fe80::1%a\nb",)),
        HostConfig(dns_search=("a\nb",)),
        HostConfig(dns_search=("a" * 254,)),
        HostConfig(dns_options=("ndots:1\nnameserver 6.6.6.6",)),
        HostConfig(extra_hosts=("a:1.2.3.4\n6.6.6.6 b",)),
        HostConfig(extra_hosts=("a\n6.6.6.6 b:1.2.3.4",)),
        HostConfig(extra_hosts=("a",)),
        HostConfig(extra_hosts=(":1.2.3.4",)),
        HostConfig(extra_hosts=("a:",)),
        HostConfig(extra_hosts=("a:b",)),
        HostConfig(extra_hosts=("a:1.2.3.4 b",)),
        HostConfig(links=("db:a\nb",)),
    ],
)
def test_another_line_is_refused(host: HostConfig) -> None:
    with pytest.raises(InvalidArgument):
        check(host)


def test_a_hostname_has_a_length() -> None:
    check(hostname="a" * 63)
    with pytest.raises(InvalidArgument, match="at most 63"):
        check(hostname="a" * 64)


def test_an_alias_is_a_word() -> None:
    validate_aliases(("db", "db.example"))
    with pytest.raises(InvalidArgument, match="network alias"):
        validate_aliases(("db", "a\nb"))
