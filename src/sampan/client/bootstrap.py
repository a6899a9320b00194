"""Root file systems made on this host, for a first image where no registry can be reached.

Pure makers: each writes a tar. The command streams it to the daemon (``docker import``), which
need not be on this host.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from sampan import components
from sampan.errors import SampanError

HOST_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
EPOCH = 0
"""Time stamp of every member of the busybox tar: the same busybox makes the same image."""

_SUITE = re.compile(r"[a-z][a-z0-9.-]*", re.ASCII)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
_DIRECTORIES = (
    ("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("lib", 0o755),
    ("proc", 0o555), ("root", 0o700), ("run", 0o755), ("sbin", 0o755), ("sys", 0o555),
    ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("usr/sbin", 0o755),
    ("var", 0o755), ("var/log", 0o755), ("var/spool", 0o755), ("var/spool/mail", 0o755),
    ("var/tmp", 0o1777), ("var/www", 0o755),
)  # fmt: skip
_PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "bin:x:2:2:bin:/bin:/bin/false\n"
    "sys:x:3:3:sys:/dev:/bin/false\n"
    "mail:x:8:8:mail:/var/spool/mail:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\n"
    "nobody:x:65534:65534:nobody:/home:/bin/false\n"
)
_GROUP = (
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\n"
    "wheel:x:10:root\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n"
)

# What a container never reads. Licences stay.
_UNREAD = ("doc", "man", "info", "locale", "lintian")
_READ = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")
_DPKG = [f"path-exclude=/usr/share/{name}/*" for name in _UNREAD] + [
    f"path-include={pattern}" for pattern in _READ
]
_CONFIG = '"$1"/etc/dpkg/dpkg.cfg.d'
# A tree that is thrown away when its making fails needs no flush of every file.
_IN_THE_MAKING = f"{_CONFIG}/51sampan-making"
# Hooks, and not mmdebstrap's --dpkgopt: given that, it starts a Python for each package that it
# extracts, which takes as long as all the rest. What this first extraction has brought is removed.
_EXTRACTED = "; ".join(
    (
        "set -e",
        f"printf '%s\\n' {' '.join(map(shlex.quote, _DPKG))} > {_CONFIG}/50sampan",
        f"echo force-unsafe-io > {_IN_THE_MAKING}",
        f'for name in {" ".join(_UNREAD)}; do cd "$1/usr/share/$name" 2>/dev/null || continue',
        "find . ! -type d ! -path './*/copyright' ! -name locale.alias -delete",
        "find . -mindepth 1 -type d -empty -delete",
        "done",
    )
)
_FINISHED = f"rm {_IN_THE_MAKING}"


class BootstrapFailed(SampanError):
    """This host cannot make the root file system; the sentence says what to install."""


def busybox_tar(out: BinaryIO) -> None:
    """A root file system of this host's static busybox and a link for each of its applets.

    Raises:
        BootstrapFailed: there is no busybox here, or it is not static.
    """
    busybox = components.find(components.BUSYBOX)
    if busybox is None:
        raise BootstrapFailed(components.BUSYBOX.cure)
    listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise BootstrapFailed(f"{busybox} --list-full failed: {listed.stderr.strip()}")
    body = busybox.read_bytes()
    if b"/ld-linux" in body[:4096]:
        raise BootstrapFailed(f"{busybox} needs shared libraries: apt-get install busybox-static")
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in _DIRECTORIES:
            tar.addfile(_info(name, mode, tarfile.DIRTYPE))
        _file(tar, "bin/busybox", body, 0o755)
        _file(tar, "etc/passwd", _PASSWD.encode())
        _file(tar, "etc/group", _GROUP.encode())
        _file(tar, "etc/shadow", b"root:*:::::::\n", 0o640)
        _file(tar, "etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
        if HOST_BUNDLE.is_file():
            for name in ("etc/ssl", "etc/ssl/certs"):
                tar.addfile(_info(name, 0o755, tarfile.DIRTYPE))
            _file(tar, "etc/ssl/certs/ca-certificates.crt", HOST_BUNDLE.read_bytes())
        known = {name for name, _ in _DIRECTORIES}
        for applet in sorted(set(listed.stdout.split()) | {"bin/sh"}):
            if applet in ("bin/busybox", "linuxrc"):
                continue
            parent = applet.rpartition("/")[0]
            # A busybox built for /usr has its applets where /bin's would be looked for.
            name = applet if parent in known else f"bin/{applet.rpartition('/')[2]}"
            link = _info(name, 0o777, tarfile.SYMTYPE)
            link.linkname = "/bin/busybox"
            tar.addfile(link)


def _info(name: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.mtime = mode, kind, EPOCH
    return info


def _file(tar: tarfile.TarFile, name: str, body: bytes, mode: int = 0o644) -> None:
    info = _info(name, mode, tarfile.REGTYPE)
    info.size = len(body)
    tar.addfile(info, io.BytesIO(body))


def debian_tar(
    suite: str, out_path: Path, report: Callable[[str], None], packages: Sequence[str] = ()
) -> None:
    """A minimal Debian in the tar ``out_path``, by mmdebstrap, from the host's own apt sources.

    Blocks for some 12 seconds.

    Args:
        suite: ``bookworm``, ``trixie`` ...
        report: gets mmdebstrap's lines as they come.
        packages: what to install besides the minimal system.

    Raises:
        BootstrapFailed: mmdebstrap is missing or failed; with its last lines.
    """
    if not _SUITE.fullmatch(suite):
        raise BootstrapFailed(f"invalid Debian suite {suite!r}")
    for name in packages:
        if not _PACKAGE.fullmatch(name):
            raise BootstrapFailed(f"invalid package name {name!r}")
    tool = components.find(components.MMDEBSTRAP)
    if tool is None:
        raise BootstrapFailed(components.MMDEBSTRAP.cure)
    # No service manager runs in a container: a package's own start would fail its installation.
    policy = "printf '#!/bin/sh\\nexit 101\\n' > \"$1\"/usr/sbin/policy-rc.d"
    sources = host_sources(suite, apt_sources())
    listed = out_path.with_suffix(".sources")
    listed.write_text("\n".join(sources))
    command = [str(tool), "--mode=root", "--variant=minbase", "--format=tar"]
    command += [f"--extract-hook={_EXTRACTED}", f"--customize-hook={_FINISHED}"]
    command += [f"--aptopt={line}" for line in apt_settings()]
    if packages:
        command += [f"--include={','.join(packages)}"]
    if any("https://" in stanza for stanza in sources):
        # apt inside must trust what the host trusts: a mirror may be signed by a local CA.
        command += [
            "--include=ca-certificates",
            "--customize-hook=copy-in /usr/local/share/ca-certificates /usr/local/share",
            '--customize-hook=chroot "$1" update-ca-certificates',
        ]
    command += [f"--customize-hook={policy}"]
    command += ['--customize-hook=chmod 755 "$1"/usr/sbin/policy-rc.d']
    command += [suite, str(out_path)] + ([str(listed)] if sources else [])
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    ) as process:
        last: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            last = [*last[-9:], line.rstrip()]
            report(line.rstrip())
    if process.returncode:
        raise BootstrapFailed(f"mmdebstrap failed ({process.returncode}):\n" + "\n".join(last))


def changes(name: str) -> list[str]:
    """Dockerfile instructions for the imported image; ``name`` is ``busybox`` or ``debian``."""
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [path, 'CMD ["bash"]' if name.startswith("debian") else 'CMD ["sh"]']


def apt_sources() -> list[str]:
    """Every source of the host's apt as a deb822 stanza; one-line entries are rewritten."""
    root = Path("/etc/apt")
    stanzas: list[str] = []
    for path in [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]:
        if path.suffix == ".sources":
            stanzas += re.split(r"\n[ \t]*\n", _uncommented(path.read_text()))
        elif path.suffix == ".list" and path.is_file():
            stanzas += [_stanza(line) for line in path.read_text().splitlines()]
    return [stanza.strip() + "\n" for stanza in stanzas if stanza.strip()]


def _uncommented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _stanza(line: str) -> str:
    match = re.fullmatch(r"\s*deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)+).*", line)
    if match is None:
        return ""
    options, uri, suite, components = match.groups()
    stanza = f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents:{components}\n"
    signed = re.search(r"signed-by=(\S+)", options or "")
    return stanza + (f"Signed-By: {signed[1]}\n" if signed else "")


def host_sources(suite: str, stanzas: list[str]) -> list[str]:
    """Those of ``stanzas`` that serve ``suite``; else the host's main archive, asked for it.

    Empty when the host has no Debian source: mmdebstrap then takes its own default.
    """
    chosen = []
    archive = ""
    for stanza in stanzas:
        suites = _field(stanza, "Suites").split()
        if "deb" not in _field(stanza, "Types").split():
            continue
        if suites and all(name == suite or name.startswith(f"{suite}-") for name in suites):
            chosen.append(stanza)
        elif not archive and _field(stanza, "URIs").rstrip("/").endswith("/debian"):
            archive = re.sub(r"(?m)^Suites:.*$", f"Suites: {suite}", stanza)
    return chosen or ([archive] if archive else [])


def _field(stanza: str, name: str) -> str:
    match = re.search(rf"(?mi)^{name}:(.*)$", stanza)
    return match[1].strip() if match else ""


def apt_settings() -> list[str]:
    """What the host had to tell apt in order to reach its mirrors (a proxy, an old snapshot)."""
    names = (
        "Acquire::Check-Valid-Until", "Acquire::Check-Date",
        "Acquire::http::Proxy", "Acquire::https::Proxy",
    )  # fmt: skip
    dump = subprocess.run(
        ["apt-config", "dump", *names], capture_output=True, text=True, check=False
    )
    found = [line.rstrip(";") for line in dump.stdout.splitlines()]
    return [line for line in found if line.split(" ")[0] in names and not line.endswith('""')]
