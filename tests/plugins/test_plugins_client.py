"""Calls to real plugin processes: well-behaved, hanging, dying, talking nonsense."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from sampan.aio import SystemClock, in_thread
from sampan.config import PluginSettings
from sampan.plugins.client import PluginClient, pause_before
from sampan.plugins.discovery import Directories
from sampan.plugins.errors import (
    BadAnswer,
    BadPluginFile,
    NoAnswer,
    NoSuchMethod,
    NoSuchPlugin,
    NotThatKind,
    PluginFailed,
    PluginRefused,
    Unreachable,
)
from sampan.plugins.plugins import Plugins
from sampan.plugins.wire import MEDIA_TYPE, Answer, Manifest, decode
from sampan.testing.clock import FakeClock, settle
from sampan.testing.plugins.process import Start


@pytest.fixture
def client(directories: Directories, settings: PluginSettings) -> PluginClient:
    return PluginClient("plug", directories, SystemClock(), settings)


async def test_a_call_is_a_post_with_dockers_headers(start: Start, client: PluginClient) -> None:
    plugin = start("volume,ipam")
    manifest = await client.call("Plugin.Activate", None, Manifest)
    assert manifest.implements == ("VolumeDriver", "IpamDriver")
    await client.call("VolumeDriver.List", Answer(), Answer)
    first, second = plugin.calls()
    assert first.request is None
    assert first.headers["content-length"] == "0"
    assert first.headers["accept"] == MEDIA_TYPE == "application/vnd.docker.plugins.v1.2+json"
    assert second.headers["content-type"] == MEDIA_TYPE
    assert isinstance(second.request, dict)


@pytest.mark.parametrize(
    ("how", "error", "sentence"),
    [
        ("hang", NoAnswer, "no answer within 1 s"),
        ("die", NoAnswer, "broke the connection off in the middle of its answer"),
        ("garbage", BadAnswer, "the answer is not understood: JSON is malformed"),
        ("error", PluginRefused, "the disk is on fire"),
        ("refuse", PluginRefused, "the disk is on fire"),
        ("missing", NoSuchMethod, "404 page not found"),
    ],
)
async def test_what_goes_wrong_is_told_with_the_plugins_name_and_the_call(
    start: Start, client: PluginClient, how: str, error: type[PluginFailed], sentence: str
) -> None:
    plugin = start("volume")
    plugin.behave(VolumeDriver_List=how)  # type: ignore[arg-type]
    with pytest.raises(error) as failed:
        await client.call("VolumeDriver.List", Answer(), Answer)
    assert str(failed.value).startswith('plugin "plug": VolumeDriver.List: ')
    assert sentence in str(failed.value)
    assert len(plugin.calls()) == 1, "a request that was sent is never sent again"


async def test_a_plugin_that_died_is_served_by_its_successor(
    start: Start, client: PluginClient
) -> None:
    plugin = start("volume")
    plugin.stop()
    with pytest.raises(Unreachable, match="cannot connect: Connection refused"):
        await client.call("VolumeDriver.List", Answer(), Answer)
    plugin.start()
    await client.call("VolumeDriver.List", Answer(), Answer)


async def test_who_asks_all_plugins_waits_for_none_that_is_gone(
    start: Start, directories: Directories, settings: PluginSettings
) -> None:
    plugin = start("volume")
    clock = FakeClock()
    client = PluginClient("plug", directories, clock, settings)
    plugin.stop()
    with pytest.raises(Unreachable):
        await client.call("VolumeDriver.List", Answer(), Answer, patient=False)
    assert not clock.pauses, "nobody has waited"


async def waits(clock: FakeClock, seconds: float) -> None:
    """Until somebody sleeps for so long: a real process and a real socket are in between."""
    async with asyncio.timeout(20):
        while seconds not in clock.pauses:
            await settle(1)


async def test_a_plugin_is_waited_for_and_found_where_it_is_then(
    start: Start, base: Path, directories: Directories
) -> None:
    plugin = start("volume")
    plugin.stop()
    clock = FakeClock()
    client = PluginClient("plug", directories, clock, PluginSettings())
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(client.call("VolumeDriver.List", Answer(), Answer))
        await waits(clock, 1.0)
        plugin.socket.unlink()
        await clock.advance(1.0)
        await waits(clock, 2.0)
        plugin.socket = base / "elsewhere.sock"
        plugin.start()
        (base / "etc").mkdir()
        (base / "etc/plug.spec").write_text(f"unix://{plugin.socket}")
        await clock.advance(2.0)
        await calling


def test_connecting_is_tried_for_half_a_minute() -> None:
    elapsed, pauses = 0.0, []
    while (pause := pause_before(len(pauses), elapsed, 30.0)) is not None:
        pauses.append(pause)
        elapsed += pause
    assert pauses == [1, 2, 4, 8]


async def test_activation_is_asked_once_by_however_many(start: Start, plugins: Plugins) -> None:
    plugin = start("volume,log")
    await asyncio.gather(*(plugins.client("plug", "VolumeDriver") for _ in range(10)))
    await plugins.client("plug", "LogDriver")
    assert [call.method for call in plugin.calls()] == ["Plugin.Activate"]


async def test_a_plugin_of_another_kind_says_what_it_is(start: Start, plugins: Plugins) -> None:
    start("volume")
    with pytest.raises(NotThatKind, match="LogDriver was asked for, and it implements Volume"):
        await plugins.client("plug", "LogDriver")


async def test_a_plugin_that_hangs_holds_up_only_those_who_named_it(
    start: Start, plugins: Plugins
) -> None:
    slow = start("volume", "slow")
    start("volume", "quick")
    slow.behave(Plugin_Activate="hang")
    waiting = asyncio.gather(
        *(plugins.client("slow", "VolumeDriver") for _ in range(3)), return_exceptions=True
    )
    assert (await plugins.client("quick", "VolumeDriver")).name == "quick"
    assert not waiting.done()
    assert [type(result) for result in await waiting] == [NoAnswer] * 3
    assert len(slow.calls()) == 1, "three who wait share one failure"
    slow.behave()
    await plugins.client("slow", "VolumeDriver")


async def test_a_plugin_that_is_not_there_is_not_waited_for(plugins: Plugins) -> None:
    with pytest.raises(NoSuchPlugin, match='plugin "nobody" not found'):
        await plugins.client("nobody", "VolumeDriver")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
async def test_over_tcp_and_over_tls_with_certificates_of_both_sides(
    base: Path, client: PluginClient
) -> None:
    certificate, key = base / "cert.pem", base / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key}"
    await in_thread(
        subprocess.run, [*command.split(), "-out", certificate], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"implements": ["LogDriver"], "Err": None})

    app = web.Application()
    app.router.add_post("/Plugin.Activate", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        plain, secure = (address[1] for address in runner.addresses)
        (base / "etc").mkdir()
        (base / "etc/plug.spec").write_text(f"tcp://127.0.0.1:{plain}\n")
        assert (await client.call("Plugin.Activate", None, Manifest)).implements == ("LogDriver",)
        (base / "etc/plug.spec").unlink()
        file = base / "etc/plug.json"
        start = f'{{"Name": "x", "Addr": "https://localhost:{secure}", "TLSConfig": {{"CAFile": '
        file.write_text(
            start + f'"{certificate}", "CertFile": "{certificate}", "KeyFile": "{key}"}}}}'
        )
        assert (await client.call("Plugin.Activate", None, Manifest)).implements == ("LogDriver",)
        file.write_text(start + f'"{certificate}"}}}}')
        with pytest.raises(NoAnswer):
            await client.call("Plugin.Activate", None, Manifest)
        file.write_text(start + f'"{base}/none"}}}}')
        with pytest.raises(BadPluginFile, match="cannot be loaded"):
            await client.call("Plugin.Activate", None, Manifest)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "body", [b'{"Err":"\xff"}', b'{"Err":' + b"[" * 100_000, b'{"Err":1}', b"[]"]
)
def test_an_answer_that_is_not_what_it_should_be(body: bytes) -> None:
    with pytest.raises(BadAnswer, match="the answer is not understood"):
        decode("plug", "VolumeDriver.List", 200, body, Answer)
    with pytest.raises(PluginRefused):
        decode("plug", "VolumeDriver.List", 500, body, Answer)
