"""The minimal system that a bare machine starts from, made once and kept.

It has what a Debian calls essential, apt, and the certificates that apt and pip need to reach
their mirrors: those of the host, whatever they are, since a mirror may be signed by a local CA.
Where packages come from is asked of the host each time and written into the kept root only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sampan import components
from sampan.client import bootstrap

PROXIES = ("http_proxy", "https_proxy", "no_proxy")
RESOLVED = Path("/run/systemd/resolve/resolv.conf")
LOCAL_CAS = Path("/usr/local/share/ca-certificates")
ARCHIVES = Path("var/cache/apt/archives")


class BareFailed(Exception):
    """The machine could not be made; the sentence says why."""


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """One process at a time makes, copies or removes what ``store`` keeps."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def key(checkout: Path) -> str:
    """Changes with whatever the kept root is made of, and with ``script/setup``, so that nothing
    which an older one needed is still there."""
    digest = hashlib.sha256()
    sources = sorted((checkout / "src/sampan/testing/bare").glob("*.py"))
    for path in (checkout / "script/setup", checkout / "script/bare", *sources):
        digest.update(path.read_bytes())
    digest.update("\n".join(_sources(_suite())).encode())
    digest.update("\n".join(bootstrap.apt_settings()).encode())
    return digest.hexdigest()[:12]


def prepared(checkout: Path, store: Path) -> Path:
    """The kept root, made if it is not there; older ones are removed. Call it ``locked``.

    Raises:
        BareFailed: mmdebstrap is missing, or failed; with what it said.
    """
    root = store / f"root-{key(checkout)}"
    for old in store.glob("root-*"):
        if old != root:
            shutil.rmtree(old)
    if not root.exists():
        making = store / "root-making"
        _make(making)
        making.rename(root)
    return root


def _suite() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _sources(suite: str) -> list[str]:
    return bootstrap.host_sources(suite, bootstrap.apt_sources())


def _make(root: Path) -> None:
    tool = components.find(components.MMDEBSTRAP)
    if tool is None:
        raise BareFailed(components.MMDEBSTRAP.cure)
    print("bare: making a minimal system (once)", flush=True)
    listed = root.with_suffix(".sources")
    listed.write_text("\n".join(_sources(_suite())))
    command = [str(tool), "--quiet", "--mode=root", "--variant=apt", "--format=directory"]
    command += ["--include=ca-certificates"]
    command += [f"--aptopt={line}" for line in bootstrap.apt_settings()]
    if LOCAL_CAS.is_dir():
        command += [f"--customize-hook=copy-in {LOCAL_CAS} {LOCAL_CAS.parent}"]
        command += ['--customize-hook=chroot "$1" update-ca-certificates']
    command += [_suite(), str(root), str(listed)]
    made = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )
    listed.unlink()
    if made.returncode:
        shutil.rmtree(root, ignore_errors=True)
        raise BareFailed(f"mmdebstrap failed ({made.returncode}):\n{made.stdout[-2000:]}")


def copy(kept: Path, root: Path, archives: Path) -> None:
    """A root of one's own, with the packages that earlier machines have downloaded."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(kept), str(root)], check=True)
    archives.mkdir(exist_ok=True)
    for package in archives.glob("*.deb"):
        os.link(package, root / ARCHIVES / package.name)


def keep_archives(root: Path, archives: Path) -> None:
    """What apt has downloaded serves the next machine, too."""
    for package in (root / ARCHIVES).glob("*.deb"):
        with suppress(FileExistsError):
            os.link(package, archives / package.name)


def settle_in(root: Path, hostname: str) -> dict[str, str]:
    """Give the copy this host's way to the mirrors; returns the environment for its commands."""
    _write(root / "etc/hostname", f"{hostname}\n")
    _write(root / "etc/hosts", f"127.0.0.1 localhost {hostname}\n")
    _write(root / "etc/resolv.conf", _name_servers())
    for config in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf"):
        if config.is_file():
            target = config if config.is_relative_to("/etc") else Path("/root/.config/pip/pip.conf")
            _copy_in(config, root, target)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
    }
    for name, value in os.environ.items():
        if name.startswith("PIP_") or name.lower() in PROXIES:
            if value.startswith("/"):
                if not Path(value).is_file():
                    continue  # a directory of wheels: what is not in there comes from the mirror
                _copy_in(Path(value), root, Path(value))
            environment[name] = value
    return environment


def _copy_in(source: Path, root: Path, target: Path) -> None:
    inside = root / target.relative_to("/")
    if not inside.exists():
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, inside)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # it may be a link that leads out of the root
    path.write_text(text)


def _name_servers() -> str:
    text = Path("/etc/resolv.conf").read_text()
    if "nameserver 127." in text:
        # a resolver on this host's loopback is out of reach from another network namespace
        if not RESOLVED.exists():
            raise BareFailed(
                "the name server of /etc/resolv.conf is on this host's loopback interface, which "
                "a bare machine does not reach: name another one there"
            )
        return RESOLVED.read_text()
    return text
