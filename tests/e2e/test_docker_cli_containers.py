"""The stock docker command against a real daemon: containers."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess


def test_run_prints_and_is_gone(sh: Shell) -> None:
    assert sh.docker("run", "--rm", "busybox", "echo", "hi").stdout == "hi\n"
    assert sh.docker("ps", "-aq").stdout == ""


def test_exit_code_is_the_commands(sh: Shell) -> None:
    assert sh.docker("run", "--rm", "busybox", "sh", "-c", "exit 7", ok=False).returncode == 7


def test_a_signal_is_an_exit_code(sh: Shell) -> None:
    words = ("busybox", "sh", "-c", "kill -9 $$; exit 3")
    assert sh.docker("run", "--rm", "--init", *words, ok=False).returncode == 137
    # the first process of a pid namespace cannot kill itself: the shell goes on
    assert sh.docker("run", "--rm", *words, ok=False).returncode == 3


def test_both_streams_stay_apart(sh: Shell) -> None:
    done = sh.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_stdin_reaches_the_command_and_ends(sh: Shell) -> None:
    text = b"one\ntwo\n" * 1000
    done = sh.docker("run", "--rm", "-i", "busybox", "cat", stdin=text)
    assert done.stdout.encode() == text


def test_a_flood_through_attach_is_complete(sh: Shell) -> None:
    size = 30_000_000
    done = sh.docker(
        "run", "--rm", "busybox", "sh", "-c", f"yes 0123456789abcde | head -c {size}", timeout=120
    )
    assert len(done.stdout) == size


def test_unknown_command_is_127(sh: Shell) -> None:
    done = sh.docker("run", "--rm", "busybox", "nosuchcommand", ok=False)
    assert done.returncode == 127
    assert "nosuchcommand" in done.stderr
    assert "executable file not found" in done.stderr


def test_not_executable_is_126(sh: Shell) -> None:
    done = sh.docker("run", "--rm", "busybox", "/etc/passwd", ok=False)
    assert done.returncode == 126
    assert "permission denied" in done.stderr.lower()


def test_terminal(sh: Shell) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["docker", "run", "--rm", "-it", "busybox", "sh"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=sh.daemon.environment,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            ready, _, _ = select.select([master], [], [], 30)
            assert ready, f"no {text!r} in {seen!r}"
            seen += os.read(master, 4096)
        seen = seen.partition(text)[2]

    until(b"#")
    os.write(master, b"test -t 0 && echo it-is-a-tt''y\n")
    until(b"it-is-a-tty")
    os.write(master, b"exit 3\n")
    # drain so that the client can end
    reader = threading.Thread(target=lambda: _drain(master), daemon=True)
    reader.start()
    assert process.wait(30) == 3
    reader.join(10)
    os.close(master)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        return


def test_detached_then_logs_then_stop(sh: Shell) -> None:
    script = "echo a; echo b >&2; trap 'echo bye; exit 5' TERM; while :; do sleep 0.1; done"
    container = sh.docker("run", "-d", "--name", "talker", "busybox", "sh", "-c", script)
    assert len(container.stdout.strip()) == 64
    follow = subprocess.Popen(
        ["docker", "logs", "-f", "talker"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=sh.daemon.environment,
    )
    assert follow.stdout
    assert {follow.stdout.readline(), follow.stdout.readline()} == {b"a\n", b"b\n"}
    sh.docker("stop", "talker")
    assert follow.stdout.read() == b"bye\n"
    assert follow.wait(10) == 0
    state = json.loads(sh.docker("inspect", "talker").stdout)[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 5)
    assert sh.docker("logs", "--tail", "1", "talker").stdout == "bye\n"
    stamped = sh.docker("logs", "-t", "talker").stdout.splitlines()[0]
    assert stamped[:2] == "20"
    assert stamped.endswith(" a")


def test_exec(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "host", "-e", "A=1", "busybox", "sleep", "1000")
    assert sh.docker("exec", "-e", "B=2", "host", "sh", "-c", "echo $A$B").stdout == "12\n"
    assert sh.docker("exec", "host", "sh", "-c", "exit 9", ok=False).returncode == 9
    assert sh.docker("exec", "-i", "host", "cat", stdin=b"through").stdout == "through"
    assert sh.docker(
        "exec", "-w", "/tmp", "-u", "1000", "host", "sh", "-c", "pwd; id -u"
    ).stdout == ("/tmp\n1000\n")
    assert sh.docker("exec", "host", "nosuch", ok=False).returncode == 127
    assert sh.docker("exec", "-t", "host", "tty").stdout.startswith("/dev/pts/")


def test_kill_and_wait(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "victim", "busybox", "sleep", "1000")
    waiter = subprocess.Popen(
        ["docker", "wait", "victim"], stdout=subprocess.PIPE, env=sh.daemon.environment
    )
    sh.docker("kill", "-s", "KILL", "victim")
    out, _ = waiter.communicate(timeout=20)
    assert out == b"137\n"


def test_start_again_keeps_the_files(sh: Shell) -> None:
    script = "echo x >> /count; wc -l < /count"
    sh.docker("run", "--name", "again", "busybox", "sh", "-c", script)
    assert sh.docker("start", "-a", "again").stdout.strip() == "2"
    assert sh.docker("start", "-a", "again").stdout.strip() == "3"


def test_identity_and_isolation(sh: Shell) -> None:
    script = "hostname; ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; grep Cap /proc/self/status"
    out = sh.docker("run", "--rm", "-h", "boat", "busybox", "sh", "-c", script).stdout.splitlines()
    assert out[0] == "boat"
    assert int(out[1]) < 6
    assert "CapEff:\t00000000a80425fb" in out
    masked = sh.docker(
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "cat /proc/kcore | head -c 1 | wc -c; cat /proc/sys/kernel/panic > /proc/sys/kernel/panic",
        ok=False,
    )
    assert masked.stdout == "0\n"
    assert "Read-only" in masked.stderr


def test_limits_are_real(sh: Shell) -> None:
    read = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max "
        "/sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true"
    )
    out = sh.docker(
        "run",
        "--rm",
        "-m",
        "64m",
        "--pids-limit",
        "77",
        "--cpus",
        "0.5",
        "busybox",
        "sh",
        "-c",
        read,
    ).stdout.split()
    assert out == ["67108864", "77"]
    killed = sh.docker(
        "run", "--name", "hungry", "-m", "16m", "busybox", "sh", "-c", "tail /dev/zero", ok=False
    )
    assert killed.returncode in (1, 137)


def test_mounts(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    bind = f"{tmp_path}:/mnt:ro"
    assert (
        sh.docker("run", "--rm", "-v", bind, "busybox", "cat", "/mnt/file").stdout
        == "from the host\n"
    )
    refused = sh.docker("run", "--rm", "-v", bind, "busybox", "touch", "/mnt/x", ok=False)
    assert "Read-only" in refused.stderr
    sh.docker("run", "--rm", "-v", "keep:/etc", "busybox", "sh", "-c", "echo kept > /etc/new")
    out = sh.docker(
        "run", "--rm", "-v", "keep:/x", "busybox", "sh", "-c", "cat /x/new; grep -c root /x/passwd"
    )
    assert out.stdout.split()[0] == "kept"
    assert int(out.stdout.split()[1]) >= 1
    sh.docker("volume", "rm", "keep")
    out = sh.docker(
        "run", "--rm", "--tmpfs", "/t:size=1m", "busybox", "sh", "-c", "df -k /t | tail -1"
    )
    assert "1024" in out.stdout
    ro = sh.docker("run", "--rm", "--read-only", "busybox", "touch", "/x", ok=False)
    assert "Read-only" in ro.stderr


def test_ps_and_filters(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "one", "-l", "kind=a", "busybox", "sleep", "1000")
    sh.docker("run", "--name", "two", "-l", "kind=b", "busybox", "true")
    names = "{{.Names}}"
    assert sh.docker("ps", "--format", names).stdout == "one\n"
    assert sh.docker("ps", "-a", "--format", names).stdout == "two\none\n"
    assert sh.docker("ps", "-a", "-f", "label=kind=b", "--format", names).stdout == "two\n"
    assert sh.docker("ps", "-a", "-f", "status=exited", "--format", names).stdout == "two\n"
    assert sh.docker("ps", "-a", "-f", "name=on", "--format", names).stdout == "one\n"
    assert sh.docker("ps", "-a", "-f", "exited=0", "--format", names).stdout == "two\n"
    assert sh.docker("ps", "-a", "-f", "ancestor=busybox", "-q").stdout.count("\n") == 2
    assert "Up" in sh.docker("ps", "--format", "{{.Status}}").stdout


def test_restart_policy_brings_it_back(sh: Shell) -> None:
    sh.docker(
        "run",
        "--name",
        "phoenix",
        "--restart",
        "on-failure:2",
        "-d",
        "busybox",
        "sh",
        "-c",
        "exit 1",
    )
    sh.docker("wait", "phoenix")
    with_count = ["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "phoenix"]
    events = subprocess.run(
        ["docker", "events", "--since", "30s", "--until", "8s", "--filter", "container=phoenix"],
        capture_output=True,
        env=sh.daemon.environment,
        timeout=30,
        check=False,
    )
    assert events.returncode == 0
    for _ in range(20):
        if sh.docker(*with_count).stdout == "2 exited\n":
            break
        sh.docker("wait", "phoenix")
    assert sh.docker(*with_count).stdout == "2 exited\n"


def test_health_is_told(sh: Shell) -> None:
    events = subprocess.Popen(
        ["docker", "events", "--filter", "event=health_status", "--format", "{{.Action}}"],
        stdout=subprocess.PIPE,
        env=sh.daemon.environment,
    )
    try:
        sh.docker(
            "run", "-d", "--name", "well", "--health-cmd", "test -e /ok", "--health-interval", "200ms",
            "--health-retries", "1", "busybox", "sh", "-c", "touch /ok; sleep 1000",
        )  # fmt: skip
        assert events.stdout
        assert events.stdout.readline().strip() == b"health_status: healthy"
        sh.docker("exec", "well", "rm", "/ok")
        assert events.stdout.readline().strip() == b"health_status: unhealthy"
    finally:
        events.send_signal(signal.SIGTERM)
        events.wait(10)


def test_pause(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "sleepy", "busybox", "sleep", "1000")
    sh.docker("pause", "sleepy")
    assert "(Paused)" in sh.docker("ps", "--format", "{{.Status}}").stdout
    sh.docker("unpause", "sleepy")
    assert "(Paused)" not in sh.docker("ps", "--format", "{{.Status}}").stdout


def test_copy_in_and_out(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("carried\n")
    sh.docker("create", "--name", "box", "busybox", "cat", "/tmp/in")
    sh.docker("cp", str(tmp_path / "in"), "box:/tmp/in")
    assert sh.docker("start", "-a", "box").stdout == "carried\n"
    sh.docker("cp", "box:/tmp/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "carried\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "nosuchimage:x"), "nosuchimage"),
        (("run", "--name", "-bad-", "busybox"), "Invalid container name"),
        (("run", "--network", "nowhere", "busybox"), "network nowhere not found"),
        (("run", "--mount", "type=bind,src=/nosuch/dir,dst=/x", "busybox"), "bind source path does not exist"),
        (("run", "-v", "/tmp:relative", "busybox"), "relative"),
        (("run", "-m", "1k", "busybox"), "memory"),
        (("run", "--cpus", "4096", "busybox"), "CPUs"),
        (("run", "--user", "nosuchuser", "busybox"), "nosuchuser"),
        (("inspect", "nosuchthing"), "nosuchthing"),
        (("start", "nosuchthing"), "No such container: nosuchthing"),
        (("network", "rm", "nosuchnet"), "nosuchnet"),
        (("volume", "rm", "nosuchvolume"), "no such volume"),
        (("network", "create", "--subnet", "10.0.0.0/99", "bad"), "invalid"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(sh: Shell, arguments: tuple[str, ...], sentence: str) -> None:
    done = sh.docker(*arguments, ok=False)
    assert done.returncode != 0
    assert sentence.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert "Traceback" not in sh.daemon.tail(20)


def test_a_name_in_use(sh: Shell) -> None:
    sh.docker("create", "--name", "taken", "busybox")
    done = sh.docker("create", "--name", "taken", "busybox", ok=False)
    assert 'The container name "/taken" is already in use by container' in done.stderr


def test_removing_what_runs_is_refused(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "busy", "busybox", "sleep", "1000")
    done = sh.docker("rm", "busy", ok=False)
    assert "running" in done.stderr
    sh.docker("rm", "-f", "busy")


def test_forty_at_once(sh: Shell) -> None:
    processes = [
        subprocess.Popen(
            ["docker", "run", "--rm", "busybox", "echo", str(n)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=sh.daemon.environment,
        )
        for n in range(40)
    ]
    outputs = [p.communicate(timeout=100)[0].decode() for p in processes]
    assert outputs == [f"{n}\n" for n in range(40)]


def test_everything_at_once_on_one_container(sh: Shell) -> None:
    sh.docker("create", "--name", "storm", "busybox", "sleep", "1000")
    verbs = ["start", "stop -t 0", "restart -t 0", "kill", "start", "pause", "unpause", "rm -f"]
    processes = [
        subprocess.Popen(
            ["docker", *verb.split(), "storm"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=sh.daemon.environment,
        )
        for verb in verbs * 3
    ]
    for process in processes:
        process.wait(60)
    sh.docker("rm", "-f", "storm", ok=False)
    assert sh.docker("ps", "-aq").stdout == ""


def test_info_counts(sh: Shell, daemon: DaemonProcess) -> None:
    info = json.loads(sh.docker("info", "--format", "{{json .}}").stdout)
    assert info["Driver"] in ("overlay2", "vfs")
    assert info["DockerRootDir"] == str(daemon.root)
    assert info["Containers"] == 0
