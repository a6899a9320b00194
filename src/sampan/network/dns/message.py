"""DNS messages (RFC 1035, EDNS of RFC 6891), as far as a stub's server needs them. Pure.

header := id (2) flags (2) counts of questions, answers, authorities, additionals (2 each)
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
QR, OPCODE, TC, RD, RA = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
CLASSIC_UDP = 512
OUR_UDP = 1232
"""What fits through every path without fragments."""

_HEADER = struct.Struct("!HHHHHH")
_POINTER_TO_QUESTION = b"\xc0\x0c"


class Malformed(ValueError):
    """Not a query that can be answered."""


class Query(NamedTuple):
    """A query with one question."""

    id: int
    flags: int
    name: str
    """Lower case, without the trailing dot; the root is ""."""
    type: int
    klass: int
    question: bytes
    """The question section as it came: what the answer repeats, case and all."""
    udp_limit: int
    edns: bool


def parse_query(packet: bytes) -> Query:
    """Raises Malformed."""
    try:
        number, flags, questions, _, _, additionals = _HEADER.unpack_from(packet)
        if flags & QR or questions != 1:
            raise Malformed("not a query with one question")
        name, end = read_name(packet, 12)
        kind, klass = struct.unpack_from("!HH", packet, end)
        limit, edns = CLASSIC_UDP, False
        end += 4
        # OPT is the one additional record that queries bear in practice; TSIG may follow it.
        if additionals and packet[end : end + 3] == b"\0\0\x29":
            edns = True
            limit = max(CLASSIC_UDP, struct.unpack_from("!H", packet, end + 3)[0])
        return Query(number, flags, name, kind, klass, packet[12:end], limit, edns)
    except (struct.error, IndexError):
        raise Malformed("cut off") from None


def read_name(packet: bytes, offset: int) -> tuple[str, int]:
    """A name and the offset after it; compression followed backwards only. Raises Malformed."""
    labels: list[str] = []
    end = -1
    limit = offset
    while True:
        if offset >= len(packet):
            raise Malformed("a name runs out of the message")
        length = packet[offset]
        if length == 0:
            break
        if length >= 0xC0:
            if offset + 1 >= len(packet):
                raise Malformed("a pointer runs out of the message")
            target = (length & 0x3F) << 8 | packet[offset + 1]
            if end < 0:
                end = offset + 2
            if target >= limit:
                raise Malformed("a pointer forwards")
            offset = limit = target
            continue
        if length > 63:
            raise Malformed("a label of an unknown kind")
        labels.append(packet[offset + 1 : offset + 1 + length].decode("latin-1").lower())
        offset += 1 + length
        if len(labels) > 127:
            raise Malformed("too many labels")
    return ".".join(labels), (end if end >= 0 else offset + 1)


def write_name(name: str) -> bytes:
    """Uncompressed. Raises ValueError: a label is empty or longer than 63 bytes."""
    encoded = bytearray()
    for label in name.rstrip(".").split(".") if name.rstrip(".") else ():
        raw = label.encode("latin-1")
        if not 0 < len(raw) < 64:
            raise ValueError(f"bad label in {name!r}")
        encoded.append(len(raw))
        encoded += raw
    encoded.append(0)
    return bytes(encoded)


def write_query(number: int, name: str, kind: int, *, udp_limit: int = 0) -> bytes:
    """A recursive query, with EDNS when ``udp_limit`` is given."""
    packet = _HEADER.pack(number, RD, 1, 0, 0, 1 if udp_limit else 0)
    packet += write_name(name) + struct.pack("!HH", kind, IN)
    if udp_limit:
        packet += b"\0" + struct.pack("!HHIH", OPT, udp_limit, 0, 0)
    return packet


def answer(
    query: Query, code: int, records: list[tuple[int, bytes]], ttl: int, *, stream: bool = False
) -> bytes:
    """A response. Records are (type, data) of the name asked for; those that do not fit a
    datagram are left off and the truncation bit says so."""
    limit = 65535 if stream else min(query.udp_limit, 4096)
    tail = b"\0" + struct.pack("!HHIH", OPT, OUR_UDP, 0, 0) if query.edns else b""
    size = 12 + len(query.question) + len(tail)
    body = bytearray()
    count = flags = 0
    for kind, data in records:
        record = _POINTER_TO_QUESTION + struct.pack("!HHIH", kind, IN, ttl, len(data)) + data
        if size + len(body) + len(record) > limit:
            flags = TC
            break
        body += record
        count += 1
    flags |= QR | RA | (query.flags & (RD | OPCODE)) | code
    header = _HEADER.pack(query.id, flags, 1, count, 0, 1 if tail else 0)
    return header + query.question + bytes(body) + tail


def refusal(packet: bytes, code: int) -> bytes:
    """An empty answer to what could not even be parsed (12 bytes or more)."""
    number, flags = struct.unpack_from("!HH", packet)
    return _HEADER.pack(number, QR | RA | (flags & (RD | OPCODE)) | code, 0, 0, 0, 0)


def address_record(text: str) -> tuple[int, bytes]:
    ip = ipaddress.ip_address(text)
    return (A if ip.version == 4 else AAAA), ip.packed


def reverse_name(text: str) -> str:
    """ "1.2.3.4" -> "4.3.2.1.in-addr.arpa"."""
    return ipaddress.ip_address(text).reverse_pointer


def ttls(packet: bytes) -> tuple[list[int], int]:
    """Offsets of the time-to-live of every record but OPT, and the smallest of them (-1: none).

    Raises Malformed.
    """
    try:
        _, _, questions, *counts = _HEADER.unpack_from(packet)
        offset = 12
        for _ in range(questions):
            offset = read_name(packet, offset)[1] + 4
        found: list[int] = []
        smallest = -1
        for _ in range(sum(counts)):
            offset = read_name(packet, offset)[1]
            kind, _, ttl, length = struct.unpack_from("!HHIH", packet, offset)
            if kind != OPT:
                found.append(offset + 4)
                smallest = ttl if smallest < 0 else min(smallest, ttl)
            offset += 10 + length
        if offset > len(packet):
            raise Malformed("cut off")
        return found, smallest
    except struct.error:
        raise Malformed("cut off") from None


def aged(packet: bytes, offsets: list[int], seconds: int) -> bytes:
    """The packet with ``seconds`` taken from every time-to-live."""
    changed = bytearray(packet)
    for offset in offsets:
        (ttl,) = struct.unpack_from("!I", changed, offset)
        struct.pack_into("!I", changed, offset, max(0, ttl - seconds))
    return bytes(changed)
