"""What compose takes for granted of an engine, whether in memory or real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sampan.client import Client, Conflict, NotFound, containers, events, images, networks, volumes

LABEL = {"test.contract": "yes"}
BODY = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL", "Labels": LABEL}


class EngineApiContract:
    """Subclass it and provide the fixture ``api``: a client with the image ``busybox``."""

    @pytest.fixture(autouse=True)
    def _tidy(self, api: Client) -> Iterator[None]:
        yield
        mine = {"label": ["test.contract=yes"]}
        for item in containers.list_(api, all=True, filters=mine):
            containers.remove(api, item["Id"], force=True, volumes=True)
        for network in networks.list_(api, mine):
            networks.remove(api, network["Name"])
        for volume in volumes.list_(api, mine):
            volumes.remove(api, volume["Name"])

    def test_a_containers_life(self, api: Client) -> None:
        made = containers.create(api, BODY, name="contract")["Id"]
        listed = containers.list_(api, all=True, filters={"label": ["test.contract=yes"]})
        assert [(c["Id"], c["State"]) for c in listed] == [(made, "created")]
        assert containers.start(api, made)
        assert not containers.start(api, made)
        with pytest.raises(Conflict):
            containers.remove(api, made)
        containers.rename(api, made, "other")
        assert containers.list_(api, filters={"label": ["test.contract"]})[0]["Names"] == ["/other"]
        assert containers.stop(api, made)
        assert not containers.stop(api, made)
        assert containers.inspect(api, made)["State"]["Status"] == "exited"
        containers.remove(api, made)
        with pytest.raises(NotFound):
            containers.inspect(api, made)

    def test_names_are_unique(self, api: Client) -> None:
        containers.create(api, BODY, name="contract")
        with pytest.raises(Conflict):
            containers.create(api, BODY, name="contract")

    def test_a_missing_image_is_not_found(self, api: Client) -> None:
        with pytest.raises(NotFound):
            containers.create(api, {**BODY, "Image": "nothing-like-it"}, name="contract")
        with pytest.raises(NotFound):
            images.inspect(api, "nothing-like-it")
        assert images.inspect(api, "busybox")["Id"].startswith("sha256:")

    def test_networks(self, api: Client) -> None:
        made = networks.create(api, {"Name": "contract-net", "Labels": LABEL})["Id"]
        with pytest.raises(Conflict):
            networks.create(api, {"Name": "contract-net", "Labels": LABEL, "CheckDuplicate": True})
        body = {**BODY, "HostConfig": {"NetworkMode": "contract-net"}}
        body["NetworkingConfig"] = {"EndpointsConfig": {"contract-net": {"Aliases": ["a"]}}}
        container = containers.create(api, body, name="contract")["Id"]
        containers.start(api, container)
        seen = containers.list_(api, filters={"label": ["test.contract"]})[0]
        assert seen["NetworkSettings"]["Networks"]["contract-net"]["NetworkID"] == made
        containers.remove(api, container, force=True)
        networks.remove(api, made)
        assert networks.list_(api, {"name": ["contract-net"]}) == []

    def test_volumes(self, api: Client) -> None:
        volumes.create(api, {"Name": "contract-volume", "Labels": LABEL})
        body = {**BODY, "HostConfig": {"Binds": ["contract-volume:/v:rw"]}, "Volumes": {"/w": {}}}
        containers.create(api, body, name="contract")
        seen = containers.list_(api, all=True, filters={"label": ["test.contract"]})[0]
        mounts = {m["Destination"]: m["Name"] for m in seen["Mounts"]}
        assert mounts["/v"] == "contract-volume"
        assert len(mounts["/w"]) == 64

    def test_events_begin_when_the_stream_is_open(self, api: Client) -> None:
        feed = events.follow(api, filters={"type": ["container"], "label": ["test.contract=yes"]})
        made = containers.create(api, BODY, name="contract")["Id"]
        containers.start(api, made)
        containers.stop(api, made)
        actions = []
        for event in feed.iter_json():
            actor = event["Actor"]
            assert isinstance(actor, dict)
            assert actor["ID"] == made
            actions.append(event["Action"])
            if event["Action"] == "die":
                break
        feed.close()
        assert [a for a in actions if a in ("create", "start", "die")] == ["create", "start", "die"]
