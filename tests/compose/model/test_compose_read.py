from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.compose.errors import ComposeFileError, ManyProblems
from sampan.compose.file.load import LoadRequest, load
from sampan.compose.model.canonical import project_data
from sampan.compose.model.create_request import container_body
from sampan.compose.model.project import Project
from sampan.compose.model.read_project import read
from sampan.compose.model.schema import TOP
from sampan.compose.model.values import HEALTHY, STARTED, Mount, Port
from sampan.compose.run.execute import secret_files
from sampan.errors import InvalidArgument

Reader = Callable[..., Project]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "services:\n  web:\n    imagee: x\n    image: y",
            'compose.yaml:3: services.web.imagee: unknown key; did you mean "image"?',
        ),
        (
            "services:\n  web:\n    image: x\n    ports: '80'",
            "compose.yaml:4: services.web.ports must be a list, not a string",
        ),
        ("services:\n  web:\n    image: 5", "compose.yaml:3: services.web.image must be a string"),
        ("services:\n  web: {}", 'compose.yaml:2: services.web: needs "image" or "build"'),
        ("web:\n  image: x", 'compose.yaml:1: no "services:" at the top'),
        ("services:\n  a: {image: x, ports: ['99999']}", "compose.yaml:2: services.a.ports[0]:"),
        ("services:\n  a: {image: x, networks: [n]}", 'there is no network "n" in the top-level'),
        ("services:\n  a: {image: x, volumes: ['v:/v']}", 'there is no volume "v"'),
        ("services:\n  a: {image: x, depends_on: [b]}", 'there is no service "b"'),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}",
            "depends on itself: a -> b -> a",
        ),
        ("services:\n  a: {image: x, restart: sometimes}", '"sometimes" is not one of'),
        ("services:\n  a: {image: x, mem_limit: lots}", 'must be a size, not "lots"'),
        ("services: {a: {image: x}, a: {image: y}}", 'the key "a" is there twice'),
        ("services:\n\ta: 1", "not valid YAML"),
        ("services:\n  a: {image: '${T:?give a tag}'}", "services.a.image: required variable T"),
    ],
)
def test_complaints_name_file_line_and_path(project: Reader, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        project(text)
    assert message in str(caught.value)
    assert "compose.yaml:" in str(caught.value)


def test_all_shape_errors_come_at_once(project: Reader) -> None:
    with pytest.raises(ManyProblems) as caught:
        project("services:\n  a: {image: x, tty: [1]}\n  b: {image: x, nope: 1}")
    assert [where.line for where, _ in caught.value.problems] == [2, 3]


def test_valid_keys_without_effect_warn(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x, models: [m], x-mine: 1}}")
    warnings = load(LoadRequest(cwd=str(tmp_path)), {}, TOP).warnings
    assert len(warnings) == 1
    assert "services.a.models has no effect: no models are run" in warnings[0]


def test_valid_keys_that_are_not_honoured_are_refused_by_name(project: Reader) -> None:
    with pytest.raises(ManyProblems, match=r"services\.a\.provider is not supported: providers"):
        project("services: {a: {image: x, provider: {type: model}}}")


def test_what_the_engine_can_do_reaches_it(project: Reader, tmp_path: Path) -> None:
    p = project(
        """
        services:
          a:
            image: x
            annotations: [k=v]
            blkio_config: {weight: 300, device_read_bps: [{path: /dev/a, rate: 1mb}]}
            device_cgroup_rules: ["c 1:3 mr"]
            gpus: [{driver: d, count: 2}]
            label_file: some.labels
            labels: {b: mine}
            storage_opt: {size: 10m}
            expose: ["6000-6001/udp", 5000]
            volumes:
              - {type: volume, target: /v, volume: {labels: {l: m}}}
              - {type: volume, target: /ro, read_only: true}
            secrets: [{source: s, uid: "5", mode: 0o400}]
        secrets: {s: {content: hush}}
        """,
        some__labels="a=1\nb=2\n",
    )
    a = p.services["a"]
    assert a.labels == {"a": "1", "b": "mine"}
    body = container_body(p, a, "n", {}, keep_volumes={}, containers={})
    host = body["HostConfig"]
    assert host["Annotations"] == {"k": "v"}
    assert host["BlkioWeight"] == 300
    assert host["BlkioDeviceReadBps"] == [{"Path": "/dev/a", "Rate": 1 << 20}]
    assert host["DeviceCgroupRules"] == ["c 1:3 mr"]
    assert host["DeviceRequests"][0]["Count"] == 2
    assert host["StorageOpt"] == {"size": "10m"}
    assert host["Mounts"][0]["VolumeOptions"]["Labels"] == {"l": "m"}
    assert (
        host["Mounts"][1] | {"Type": "volume", "Target": "/ro", "ReadOnly": True}
        == host["Mounts"][1]
    )
    assert set(body["ExposedPorts"]) == {"6000/udp", "6001/udp", "5000/tcp"}
    (tar,) = secret_files(p, a)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        info = archive.getmember("run/secrets/s")
    assert (info.uid, info.mode) == (5, 0o400)


def test_forms(project: Reader) -> None:
    p = project(
        """
        services:
          web:
            build: ./web
            command: sh -c "echo 'a b'"
            environment: [A=1, OUT, GONE]
            env_file: [extra.env, {path: missing.env, required: false}]
            ports: ["8000-8001:80-81", "127.0.0.1:53:53/udp", 90, {target: 9, published: "99"}]
            volumes: [data:/d, ./here:/h:ro, /anon, {type: tmpfs, target: /t, tmpfs: {size: 1m}}]
            depends_on: {db: {condition: service_healthy}}
            deploy: {replicas: 3, resources: {limits: {memory: 64m, cpus: "0.5"}}}
            ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
            extra_hosts: ["a:1.2.3.4", "b=5.6.7.8"]
            stop_grace_period: 1m30s
          db:
            image: db
            healthcheck: {test: "true", interval: 1s}
            networks: {back: {aliases: [store], ipv4_address: 10.9.0.5}}
        networks: {back: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}
        volumes: {data: }
        """,
        env={"OUT": "out"},
        extra__env="A=0\nB=2\n",
    )
    web, db = p.services["web"], p.services["db"]
    assert web.command == ("sh", "-c", "echo 'a b'")
    assert web.environment == {"A": "1", "B": "2", "OUT": "out"}
    assert web.ports[:4] == (
        Port(80, "8000"),
        Port(81, "8001"),
        Port(53, "53", "127.0.0.1", "udp"),
        Port(90),
    )
    assert web.mounts[0] == Mount("volume", "/d", "data")
    assert web.mounts[1].read_only
    assert web.mounts[3].size == 1 << 20
    assert web.scale == 3
    assert web.mem_limit == 64 << 20
    assert web.cpus == 0.5
    assert web.ulimits == {"nofile": (10, 20), "nproc": (5, 5)}
    assert web.extra_hosts == ("a:1.2.3.4", "b:5.6.7.8")
    assert web.stop_grace_ns == 90 * 10**9
    assert web.depends_on[0].condition == HEALTHY
    assert db.healthcheck is not None
    assert db.healthcheck.test == ("CMD-SHELL", "true")
    assert db.attachments[0].ipv4 == "10.9.0.5"
    assert p.networks["default"].name == "p_default"
    assert p.volumes["data"].name == "p_data"
    assert p.order() == ["db", "web"]


def test_override_file_merges(project: Reader) -> None:
    p = project(
        """
        services:
          a:
            image: one
            command: first
            environment: {A: "1", B: "1", C: "1"}
            ports: ["80:80"]
            volumes: ["/old:/x"]
            labels: [l=1]
        """,
        compose__override__yaml="""
        services:
          a:
            image: two
            command: [second]
            environment: [B=2]
            ports: ["81:81", "80:80"]
            volumes: ["/new:/x"]
            labels: !reset {}
        """,
    )
    a = p.services["a"]
    assert (a.image, a.command) == ("two", ("second",))
    assert a.environment == {"A": "1", "B": "2", "C": "1"}
    assert [q.published for q in a.ports] == ["80", "81"]
    assert [m.source for m in a.mounts] == ["/new"]
    assert a.labels == {}


def test_extends_include_anchors_and_profiles(project: Reader, tmp_path: Path) -> None:
    p = project(
        """
        include: [more.yaml]
        x-common: &common {restart: always}
        services:
          web:
            <<: *common
            extends: {service: base, file: base.yaml}
            environment: {B: "2"}
          api: {extends: web, depends_on: [other]}
          debug: {image: d, profiles: [debug]}
        """,
        base__yaml="services: {base: {image: base, environment: {A: '1', B: '1'}, build: .}}",
        more__yaml="services: {other: {image: o}}",
    )
    web = p.services["web"]
    assert (web.image, web.restart) == ("base", "always")
    assert web.environment == {"A": "1", "B": "2"}
    assert web.build is not None
    assert web.build.context == str(tmp_path)
    assert p.services["api"].depends_on[0].condition == STARTED
    assert set(p.services) == {"other", "web", "api"}
    assert set(p.disabled) == {"debug"}


def test_precedence_of_variables(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: '$A$B$C'}}")
    (tmp_path / ".env").write_text("A=dot\nB=dot\nC=dot\n")
    (tmp_path / "other.env").write_text("A=file\nB=file\n")
    plain = load(LoadRequest(cwd=str(tmp_path)), {"A": "shell-"}, TOP)
    assert (plain.variables["A"], plain.variables["B"]) == ("shell-", "dot")
    named = load(LoadRequest(cwd=str(tmp_path), env_files=("other.env",)), {"A": "shell-"}, TOP)
    assert (named.variables["A"], named.variables["B"]) == ("shell-", "file")
    assert "C" not in named.variables


def test_yaml_1_2_scalars(project: Reader) -> None:
    p = project("services: {a: {image: x, environment: {A: yes, B: 22:22, C: 0777, D: 1.10}}}")
    assert list(p.services["a"].environment.values()) == ["yes", "22:22", "0777", "1.10"]


def test_config_can_be_read_again(project: Reader, tmp_path: Path) -> None:
    text = """
        services:
          web:
            image: w
            ports: ["127.0.0.1:80:80"]
            volumes: [data:/d, "/h:/h:ro"]
            healthcheck: {test: [CMD, x], interval: 90s, retries: 2}
            networks: {default: {aliases: [q]}}
            command: []
        volumes: {data: {}}
        """
    import json

    once = project_data(project(text))
    twice = project_data(project(json.dumps(once)))
    assert once == twice


def test_an_empty_file_says_what_to_write(project: Reader) -> None:
    with pytest.raises(ComposeFileError, match="empty compose file"):
        project("")


def test_an_override_file_of_comments_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {s: {image: x}}")
    (tmp_path / "extras.yaml").write_text("# put your own services here\n")
    both = LoadRequest(files=("compose.yaml", "extras.yaml"), cwd=str(tmp_path))
    assert set(read(load(both, {}, TOP)).services) == {"s"}
    with pytest.raises(ComposeFileError, match=r"extras.yaml.*empty compose file"):
        load(LoadRequest(files=("extras.yaml",), cwd=str(tmp_path)), {}, TOP)


@pytest.mark.parametrize(
    ("head", "given", "environ", "name"),
    [
        ("", "said", {}, "said"),
        ("name: inside\n", None, {}, "inside"),
        ("name: from-${WHO}\n", None, {"WHO": "x"}, "from-x"),
        ("name: inside\n", None, {"COMPOSE_PROJECT_NAME": "env"}, "env"),
        ("", None, {}, "folder"),
    ],
)
def test_the_project_s_name_can_be_used_in_the_file(
    head: str, given: str | None, environ: dict[str, str], name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    label = "${COMPOSE_PROJECT_NAME:-none}"
    text = f"{head}services: {{s: {{image: x, labels: {{l: '{label}'}}}}}}"
    (folder / "compose.yaml").write_text(text)
    loaded = load(LoadRequest(cwd=str(folder), project=given), environ, TOP)
    assert loaded.name == name
    assert read(loaded).services["s"].labels == {"l": name}
    assert not loaded.warnings


def test_dollars_that_begin_no_variable_stay(project: Reader) -> None:
    p = project(
        """
        services:
          s:
            image: x
            labels: ["rule=HostRegexp(`^.+$`)"]
            command: [awk, "{print $1}"]
        """
    )
    assert p.services["s"].labels == {"rule": "HostRegexp(`^.+$`)"}
    assert p.services["s"].command == ("awk", "{print $1}")


def test_files_merge_in_whatever_form_they_are_written(project: Reader) -> None:
    p = project(
        """
        services:
          a:
            image: x
            extra_hosts: ["one:1.1.1.1", "two=2.2.2.2"]
            secrets: [s]
            dns: 1.1.1.1
            environment: [A=1]
            healthcheck: {test: [CMD, one], retries: 4}
            logging: {driver: json-file, options: {max-size: 1m}}
            deploy: {labels: [a=b], resources: {limits: {memory: 1g}}}
            build: {context: ., args: [A=1]}
        secrets: {s: {content: a}}
        """,
        compose__override__yaml="""
        services:
          a:
            extra_hosts: {two: 3.3.3.3, six: "::1"}
            secrets: [{source: s, mode: 0400}]
            dns: [2.2.2.2]
            environment: {B: 2}
            healthcheck: {test: [CMD, two]}
            logging: {driver: local}
            deploy: {labels: {c: d}, resources: {limits: {cpus: 2}}}
            build: {args: {B: 2}}
        """,
    )
    a = p.services["a"]
    assert a.extra_hosts == ("one:1.1.1.1", "two:3.3.3.3", "six:::1")
    assert [(g.source, g.mode) for g in a.secrets] == [("s", 0o400)]
    assert a.dns == ("1.1.1.1", "2.2.2.2")
    assert a.environment == {"A": "1", "B": "2"}
    assert a.healthcheck is not None
    assert (a.healthcheck.test, a.healthcheck.retries) == (("CMD", "two"), 4)
    assert a.logging is not None
    assert (a.logging.driver, dict(a.logging.options)) == ("local", {})
    assert a.deploy is not None
    assert a.deploy.labels == {"a": "b", "c": "d"}
    assert (a.mem_limit, a.cpus) == (1 << 30, 2)
    assert a.build is not None
    assert a.build.args == {"A": "1", "B": "2"}
