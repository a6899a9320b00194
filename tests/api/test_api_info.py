"""``docker info`` says what is, and not what would be nice."""

from __future__ import annotations

from typing import Any


async def test_listeners_of_events_are_counted(host: Any) -> None:
    before = (await host.ask("GET", "/info", status=200))["NEventsListener"]
    async with host.http.get("http://daemon/events") as one:
        assert one.status == 200
        async with host.http.get("http://daemon/events") as other:
            assert other.status == 200
            assert (await host.ask("GET", "/info"))["NEventsListener"] == before + 2
    await host.world.until(lambda: host.world.events.listeners == before)
    assert (await host.ask("GET", "/info"))["NEventsListener"] == before


async def test_a_login_is_checked(host: Any) -> None:
    host.world.images.passwords["reg.example"] = "right"
    login = {"username": "me", "serveraddress": "reg.example", "password": "right"}
    assert (await host.ask("POST", "/auth", login, status=200))["Status"] == "Login Succeeded"
    refused = await host.ask("POST", "/auth", login | {"password": "wrong"}, status=401)
    assert "401" in refused["message"]


async def test_a_push_takes_an_image_to_its_registry(host: Any) -> None:
    async with host.http.post("http://daemon/images/busybox/push?tag=latest") as answer:
        lines = await answer.text()
    assert "The push refers to repository" in lines
    assert host.world.images.remote["docker.io/library/busybox:latest"]
    found = await host.ask("GET", "/distribution/busybox/json", status=200)
    assert found["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
