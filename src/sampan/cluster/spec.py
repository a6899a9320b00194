"""What users ask of the cluster: the specifications, with Docker's names on the wire.

The JSON that a client sends, that the store keeps and that ``inspect`` prints is one and the same,
so what was asked for comes back word for word and nothing is translated on the way. In Python the
names are snake case; ``wire_name`` tells how they are spelled outside. None means "not said", which
is not the same as zero. Durations are nanoseconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

_SPELLED = {
    "id": "ID",
    "uid": "UID",
    "gid": "GID",
    "pid": "PID",
    "tty": "TTY",
    "dns_config": "DNSConfig",
    "nano_cpus": "NanoCPUs",
    "os": "OS",
    "ca_config": "CAConfig",
    "ca_cert": "CACert",
    "external_cas": "ExternalCAs",
    "signing_ca_cert": "SigningCACert",
    "signing_ca_key": "SigningCAKey",
    "url": "URL",
    "virtual_ips": "VirtualIPs",
    "tls_info": "TLSInfo",
    "selinux_context": "SELinuxContext",
    "app_armor": "AppArmor",
    "ip_range": "IPRange",
    "ipam": "IPAMOptions",
    "enable_ipv4": "EnableIPv4",
    "enable_ipv6": "EnableIPv6",
}


def wire_name(name: str) -> str:
    """``task_history_retention_limit`` -> ``TaskHistoryRetentionLimit``; ``node_id`` ->
    ``NodeID``."""
    if name in _SPELLED:
        return _SPELLED[name]
    if name.endswith("_id"):
        return wire_name(name[:-3]) + "ID"
    return "".join(part.capitalize() for part in name.split("_"))


class Spec(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name, gc=False
):
    """Base of every part of a specification. ``gc=False``: see ``records.Part``."""


class Platform(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    architecture: str = ""
    os: str = ""


class Driver(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    options: dict[str, str] = {}


# ---------------------------------------------------------------- resources


class NamedGenericResource(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    kind: str = ""
    value: str = ""


class DiscreteGenericResource(
    Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name
):
    kind: str = ""
    value: int = 0


class GenericResource(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    named_resource_spec: NamedGenericResource | None = None
    discrete_resource_spec: DiscreteGenericResource | None = None


class Limit(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    nano_cpus: int = 0
    memory_bytes: int = 0
    pids: int = 0


class Resources(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    nano_cpus: int = 0
    memory_bytes: int = 0
    generic_resources: tuple[GenericResource, ...] = ()


class ResourceRequirements(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    limits: Limit | None = None
    reservations: Resources | None = None


# ---------------------------------------------------------------- a task's container


class HealthConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class BindOptions(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeOptions(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    no_copy: bool = False
    labels: dict[str, str] = {}
    driver_config: Driver | None = None
    subpath: str = ""


class TmpfsOptions(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    size_bytes: int = 0
    mode: int = 0


class Mount(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    type: str = "bind"
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class FileTarget(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """Where a secret or config appears; a relative name of a secret is below /run/secrets, of a
    config below /."""

    name: str = ""
    uid: str = ""
    """A number; empty is root."""
    gid: str = ""
    mode: int = 0
    """0: 0444."""


class SecretReference(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    file: FileTarget | None = None
    secret_id: str = ""
    secret_name: str = ""


class RuntimeTarget(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """The config is used by the runtime (credential spec), not as a file."""


class ConfigReference(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    file: FileTarget | None = None
    runtime: RuntimeTarget | None = None
    config_id: str = ""
    config_name: str = ""


class DnsConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class SeccompOptions(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    mode: str = ""
    profile: str = ""
    """Base64, as the API has it."""


class AppArmorOptions(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    mode: str = ""


class SelinuxContext(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    disable: bool = False
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class Privileges(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    credential_spec: dict[str, str] | None = None
    selinux_context: SelinuxContext | None = None
    seccomp: SeccompOptions | None = None
    app_armor: AppArmorOptions | None = None
    no_new_privileges: bool = False


class Ulimit(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    soft: int = 0
    hard: int = 0


class ContainerSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    image: str = ""
    labels: dict[str, str] = {}
    command: tuple[str, ...] = ()
    """Replaces the image's ENTRYPOINT."""
    args: tuple[str, ...] = ()
    """Replaces the image's CMD."""
    hostname: str = ""
    """May be a template, as ``env`` and mounts' sources: ``{{.Node.Hostname}}``."""
    env: tuple[str, ...] = ()
    dir: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    privileges: Privileges | None = None
    init: bool | None = None
    tty: bool = False
    open_stdin: bool = False
    read_only: bool = False
    mounts: tuple[Mount, ...] = ()
    stop_signal: str = ""
    stop_grace_period: int | None = None
    healthcheck: HealthConfig | None = msgspec.field(default=None, name="Healthcheck")
    hosts: tuple[str, ...] = ()
    """Lines of /etc/hosts: "ADDRESS NAME"."""
    dns_config: DnsConfig | None = None
    secrets: tuple[SecretReference, ...] = ()
    configs: tuple[ConfigReference, ...] = ()
    isolation: str = ""
    sysctls: dict[str, str] = {}
    capability_add: tuple[str, ...] = ()
    capability_drop: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0


# ---------------------------------------------------------------- a task


class RestartPolicy(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    condition: str = ""
    """``none``, ``on-failure``, ``any``; empty is ``any``."""
    delay: int | None = None
    """None: 5 s."""
    max_attempts: int | None = None
    """None or 0: no limit."""
    window: int | None = None
    """The time in which attempts are counted; None or 0: for ever."""


class SpreadOver(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    spread_descriptor: str = ""


class PlacementPreference(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    spread: SpreadOver | None = None


class Placement(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    constraints: tuple[str, ...] = ()
    preferences: tuple[PlacementPreference, ...] = ()
    max_replicas: int = 0
    platforms: tuple[Platform, ...] = ()


class NetworkAttachmentConfig(
    Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name
):
    target: str = ""
    """A network's id once it is stored; a client may send a name."""
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = {}


class NetworkAttachmentSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """A task that only stands for a container started by hand on an attachable network."""

    container_id: str = ""


class TaskSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    container_spec: ContainerSpec | None = None
    network_attachment_spec: NetworkAttachmentSpec | None = None
    resources: ResourceRequirements | None = None
    restart_policy: RestartPolicy | None = None
    placement: Placement | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    log_driver: Driver | None = None
    force_update: int = 0
    runtime: str = ""


# ---------------------------------------------------------------- a service


class ReplicatedMode(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    replicas: int | None = None


class GlobalMode(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """One task on each node that the placement allows."""


class ReplicatedJobMode(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    max_concurrent: int | None = None
    total_completions: int | None = None


class GlobalJobMode(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """One completion on each node."""


class ServiceMode(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """Exactly one is set."""

    replicated: ReplicatedMode | None = None
    global_: GlobalMode | None = msgspec.field(default=None, name="Global")
    replicated_job: ReplicatedJobMode | None = None
    global_job: GlobalJobMode | None = None

    @property
    def is_job(self) -> bool:
        """Its tasks are meant to end."""
        return self.replicated_job is not None or self.global_job is not None

    @property
    def is_global(self) -> bool:
        """A place on each node, in the place of numbered slots."""
        return self.global_ is not None or self.global_job is not None


class UpdateConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    parallelism: int = 0
    """0: all at once."""
    delay: int = 0
    failure_action: Literal["", "pause", "continue", "rollback"] = ""
    monitor: int = 0
    """0: 5 s."""
    max_failure_ratio: float = 0.0
    order: Literal["", "stop-first", "start-first"] = ""


class PortConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    protocol: Literal["", "tcp", "udp", "sctp"] = ""
    target_port: int = 0
    published_port: int = 0
    """0: the allocator picks one of 30000 to 32767."""
    publish_mode: Literal["", "ingress", "host"] = ""


class EndpointSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    mode: Literal["", "vip", "dnsrr"] = ""
    ports: tuple[PortConfig, ...] = ()


class ServiceSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    labels: dict[str, str] = {}
    task_template: TaskSpec = TaskSpec()
    mode: ServiceMode = ServiceMode()
    update_config: UpdateConfig | None = None
    rollback_config: UpdateConfig | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    """Of old clients; ``task_template.networks`` counts when it is there."""
    endpoint_spec: EndpointSpec | None = None


# ---------------------------------------------------------------- nodes, networks, data


class NodeSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    labels: dict[str, str] = {}
    role: Literal["worker", "manager"] = "worker"
    availability: Literal["active", "pause", "drain"] = "active"


class IpamConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    subnet: str = ""
    range: str = ""
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


VNI_OPTION = "com.docker.network.driver.overlay.vxlanid_list"
"""The option of a network that asks for its VXLAN identifier, and tells it."""
MTU_OPTION = "com.docker.network.driver.mtu"
"""The option of a network that makes its packets smaller than the hosts' own network would let
them be: a number of bytes."""


class NetworkSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    labels: dict[str, str] = {}
    driver: str = "overlay"
    options: dict[str, str] = {}
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam_driver: str = "default"
    ipam_configs: tuple[IpamConfig, ...] = ()


class SecretSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """``data`` (base64) is only on its way in; the record keeps it sealed."""

    name: str = ""
    labels: dict[str, str] = {}
    data: str = ""
    driver: Driver | None = None
    templating: Driver | None = None


class ConfigSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = ""
    labels: dict[str, str] = {}
    data: str = ""
    """Base64."""
    templating: Driver | None = None


# ---------------------------------------------------------------- the cluster


class OrchestrationConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    task_history_retention_limit: int | None = None
    """Dead tasks kept for each slot; None: 5."""


class RaftConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    snapshot_interval: int = 10_000
    keep_old_snapshots: int | None = None
    log_entries_for_slow_followers: int = 500
    election_tick: int = 10
    heartbeat_tick: int = 1


class DispatcherConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    heartbeat_period: int = 0
    """0: it follows from the number of nodes."""


class ExternalCa(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    protocol: str = "cfssl"
    url: str = ""
    options: dict[str, str] = {}
    ca_cert: str = ""


class CaConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    node_cert_expiry: int = 0
    """0: 90 days."""
    external_cas: tuple[ExternalCa, ...] = ()
    signing_ca_cert: str = ""
    signing_ca_key: str = ""
    force_rotate: int = 0


class EncryptionConfig(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    auto_lock_managers: bool = False


class TaskDefaults(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    log_driver: Driver | None = None


class SwarmSpec(Spec, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    name: str = "default"
    labels: dict[str, str] = {}
    orchestration: OrchestrationConfig = OrchestrationConfig()
    raft: RaftConfig = RaftConfig()
    dispatcher: DispatcherConfig = DispatcherConfig()
    ca_config: CaConfig = CaConfig()
    encryption_config: EncryptionConfig = EncryptionConfig()
    task_defaults: TaskDefaults = TaskDefaults()
