"""Where plugins are looked for, and what files may say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sampan.plugins.discovery import (
    FILE_LIMIT,
    Address,
    Directories,
    TlsConfig,
    parse_specification,
)
from sampan.plugins.errors import BadPluginFile, NoSuchPlugin


def put(path: Path, text: str = "") -> None:
    """A file, or a socket where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".sock" and not text:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.write_text(text)


ORDER = [
    "run/plug.sock",
    "run/plug/plug.sock",
    "etc/plug.spec",
    "etc/plug/plug.spec",
    "etc/plug.json",
    "etc/plug/plug.json",
    "lib/plug.spec",
    "lib/plug.json",
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_in_dockers_order_counts(
    base: Path, directories: Directories, first: int
) -> None:
    for name in ORDER[first:]:
        url = f"unix:///{name}"
        text = {".sock": "", ".spec": f"{url}\n", ".json": f'{{"Addr": "{url}"}}'}
        put(base / name, text[Path(name).suffix])
    found = directories.find("plug")
    expected = str(base / ORDER[first]) if ORDER[first].endswith("sock") else f"/{ORDER[first]}"
    assert found.socket == expected


def test_a_file_that_is_no_socket_is_passed_over(base: Path, directories: Directories) -> None:
    put(base / "run/plug.sock", "not a socket")
    with pytest.raises(NoSuchPlugin, match='plugin "plug" not found'):
        directories.find("plug")


@pytest.mark.parametrize(
    "name", ["", "..", "../plug", "a/b", "plug:latest", ".plug", "pl ug", "p" * 5000]
)
def test_a_name_never_leads_out_of_the_directories(
    base: Path, directories: Directories, name: str
) -> None:
    put(base / "plug.sock")
    put(base / "run/x.sock")
    with pytest.raises(NoSuchPlugin):
        directories.find(name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Unknown protocol"),
        ("localhost:80", "Unknown protocol"),
        ("npipe:////./pipe/plug", "Unknown protocol"),
        ("unix://run/plug.sock", "a unix socket is unix:///PATH"),
        ("tcp://", "names no HOST:PORT"),
        ("tcp://host", "names no HOST:PORT"),
        ("tcp://host:many", "is not a URL"),
    ],
)
def test_a_file_that_names_no_address_is_an_error_and_not_another_plugin(
    base: Path, directories: Directories, text: str, problem: str
) -> None:
    put(base / "etc/plug.spec", text)
    put(base / "lib/plug.spec", "unix:///other.sock")
    with pytest.raises(BadPluginFile) as error:
        directories.find("plug")
    assert problem in str(error.value)
    assert str(base / "etc/plug.spec") in str(error.value)


def test_a_json_file_that_is_no_specification_is_an_error(
    base: Path, directories: Directories
) -> None:
    put(base / "etc/plug.json", '{"Addr": 5}')
    with pytest.raises(BadPluginFile, match="Expected `str`"):
        directories.find("plug")


def specified(text: str) -> Address:
    return parse_specification("plug", Path("plug.json"), text)


def test_tls_is_what_the_specification_says() -> None:
    assert specified('{"Addr": "tcp://h:1"}').tls is None
    # without an authority there is nothing to verify against
    assert specified('{"Addr": "https://h:1"}').tls == TlsConfig(insecure_skip_verify=True)
    with_ca = '{"Name": "other", "Addr": "https://h:1", "TLSConfig": {"CAFile": "ca"}}'
    assert specified(with_ca).tls == TlsConfig(ca_file="ca")
    # who names an authority does not mean plain HTTP
    both = '{"Addr": "tcp://h:1", "TLSConfig": {"CAFile": "a", "CertFile": "c", "KeyFile": "k"}}'
    assert specified(both).tls == TlsConfig(ca_file="a", cert_file="c", key_file="k")
    assert specified('{"Addr": "tcp://h:1", "TLSConfig": {}}').tls is None
    with pytest.raises(BadPluginFile, match="says http:// and has a TLSConfig"):
        specified('{"Addr": "http://h:1", "TLSConfig": {"CAFile": "ca"}}')


def test_what_is_no_file_is_not_read(base: Path, directories: Directories) -> None:
    (base / "etc").mkdir(parents=True, exist_ok=True)
    os.mkfifo(base / "etc/fifo.spec")
    (base / "etc/device.json").symlink_to("/dev/zero")
    (base / "etc/folder.spec").mkdir()
    for name in ("fifo", "device", "folder"):
        with pytest.raises(BadPluginFile, match="not a file"):
            directories.find(name)


def test_a_file_that_is_too_large_is_not_read_whole(base: Path, directories: Directories) -> None:
    put(base / "etc/large.spec", f"unix:///{'x' * FILE_LIMIT}")
    with pytest.raises(BadPluginFile, match="larger than 64 KiB"):
        directories.find("large")


def test_every_name_is_listed_once(base: Path, directories: Directories) -> None:
    for name in ORDER:
        put(base / name, "" if name.endswith(".sock") else "unix:///x")
    for name in ("run/other.sock", "run/a/b.sock", "etc/third/third.json", "etc/.hidden.spec"):
        put(base / name, "" if name.endswith(".sock") else "unix:///x")
    put(base / "run/not-a-kind.txt", "x")
    put(base / "run/no.spec", "unix:///x")
    assert directories.names() == ["other", "plug", "third"]
