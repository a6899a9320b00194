"""A registry of drivers: names, errors, and resolvers that take their time."""

from __future__ import annotations

import asyncio

import pytest

from sampan.drivers import Registry
from sampan.engine.drivers import Drivers
from sampan.errors import NotFound, SampanError, Unavailable


def registry() -> Registry[object]:
    return Registry("toy", lambda name: NotFound(f"no toy named {name}"))


def test_a_driver_is_found_by_its_name_and_its_aliases_and_listed_once() -> None:
    toys = registry()
    toys.register("runc", 1, "io.containerd.runc.v2")
    toys.register("crun", 2)
    assert toys.get("runc") == toys.get("io.containerd.runc.v2") == 1
    assert toys.canonical("io.containerd.runc.v2") == "runc"
    assert toys.names() == ("crun", "runc")


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_name_is_given_once(name: str) -> None:
    toys = registry()
    toys.register("a", 1, "b")
    with pytest.raises(ValueError, match="two toys"):
        toys.register("c", 2, name)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("log", "logger: no log driver named 'x' is registered"),
        ("volume", 'error looking up volume plugin x: plugin "x" not found'),
        ("network", "could not find plugin x in v1 plugin registry: plugin not found"),
        ("runtime", "unknown or invalid runtime name: x"),
    ],
)
async def test_a_driver_that_is_not_there_is_told_in_dockers_words(
    kind: str, sentence: str
) -> None:
    asked: Registry[object] = getattr(Drivers(), kind)
    with pytest.raises(SampanError) as now:
        asked.get("x")
    with pytest.raises(SampanError) as later:
        await asked.find("x")
    assert str(now.value).startswith(sentence)
    assert str(later.value) == str(now.value)


async def test_what_a_resolver_finds_is_remembered_until_it_is_forgotten() -> None:
    toys, asked = registry(), []

    async def plugin(name: str) -> object | None:
        asked.append(name)
        return f"driver {name}" if name == "here" else None

    toys.add_resolver(plugin)
    assert await toys.find("here") == await toys.find("here") == toys.get("here") == "driver here"
    assert toys.names() == ("here",)
    assert asked == ["here"]
    with pytest.raises(NotFound):
        await toys.find("elsewhere")
    toys.forget("here")
    await toys.find("here")
    assert asked == ["here", "elsewhere", "here"]


async def test_a_resolver_that_waits_holds_up_nobody_who_asks_for_another_name() -> None:
    toys, asked = registry(), []
    begun, answer = asyncio.Event(), asyncio.Event()

    async def plugin(name: str) -> object | None:
        asked.append(name)
        if name == "slow":
            begun.set()
            await answer.wait()
        return name

    toys.add_resolver(plugin)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(toys.find("slow"))
        second = group.create_task(toys.find("slow"))
        await begun.wait()
        assert await toys.find("quick") == "quick"
        assert not first.done()
        answer.set()
    assert (first.result(), second.result()) == ("slow", "slow")
    assert asked == ["slow", "quick"], "two who ask for one name wait for one search"


async def test_those_who_wait_for_one_search_share_its_failure() -> None:
    """Else the last of ten waits ten times as long as a plugin that hangs is given."""
    toys, asked, answer = registry(), [], asyncio.Event()

    async def plugin(name: str) -> object | None:
        asked.append(name)
        await answer.wait()
        raise Unavailable("the plugin does not answer")

    toys.add_resolver(plugin)
    waiting = asyncio.gather(*(toys.find("x") for _ in range(10)), return_exceptions=True)
    await asyncio.sleep(0)
    answer.set()
    assert [type(result) for result in await waiting] == [Unavailable] * 10
    assert asked == ["x"]


async def test_a_resolvers_own_error_is_the_callers_and_is_not_remembered() -> None:
    toys, failures = registry(), [Unavailable("the plugin does not answer")]

    async def plugin(name: str) -> object | None:
        if failures:
            raise failures.pop()
        return name

    toys.add_resolver(plugin)
    with pytest.raises(Unavailable):
        await toys.find("x")
    assert await toys.find("x") == "x"
