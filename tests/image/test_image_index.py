"""Names of images, and what removing one means."""

from __future__ import annotations

import pytest

from sampan.errors import Conflict, InvalidArgument
from sampan.image.config import chain_ids, parse_config, parse_time, rfc3339
from sampan.image.contract import BadLayer, BadReference, ImageInUse, ImageUser, NoSuchImage
from sampan.testing.images import FakeImages


@pytest.fixture
def images() -> FakeImages:
    return FakeImages()


def unused(_: str) -> None:
    return None


def test_get_by_name_id_and_prefix(images: FakeImages) -> None:
    image = images.add("busybox:1")
    for ref in ("busybox:1", "docker.io/library/busybox:1", image.id, image.id[7:], image.id[7:14]):
        assert images.get(ref) == image
    with pytest.raises(NoSuchImage, match="No such image: busybox:latest"):
        images.get("busybox")
    with pytest.raises(BadReference):
        images.get("no such")


def test_an_ambiguous_prefix(images: FakeImages) -> None:
    for n in range(40):
        images.add(Labels={"n": str(n)})
    first = [image.id[7] for image in images.all()]
    shared = next(letter for letter in first if first.count(letter) > 1)
    # As a name of one letter it is asked first, and there is none.
    with pytest.raises(Conflict, match="ambiguous"):
        images.get(shared)


def test_a_tag_moves(images: FakeImages) -> None:
    one, two = images.add("x:1", Labels={"a": "1"}), images.add("x:1", Labels={"a": "2"})
    assert images.tags(one.id) == []
    assert images.tags(two.id) == ["x:1"]
    with pytest.raises(InvalidArgument):
        images.tag(one.id, "x@sha256:" + "0" * 64)


async def test_the_last_name_takes_the_image(images: FakeImages) -> None:
    image = images.add("x:1")
    images.tag(image.id, "x:2")
    removed = await images.remove("x:1", in_use=unused)
    assert (removed.untagged, removed.deleted) == (("x:1",), ())
    removed = await images.remove("x:2", in_use=unused)
    assert (removed.untagged, removed.deleted) == (("x:2",), (image.id,))


async def test_a_used_image_loses_its_name_only_by_force(images: FakeImages) -> None:
    image = images.add("x:1")

    def used(_: str) -> ImageUser:
        return ImageUser("1234abcd" * 8, running=False)

    with pytest.raises(ImageInUse) as caught:
        await images.remove("x:1", in_use=used)
    assert str(caught.value) == (
        'conflict: unable to remove repository reference "x:1" (must force) - '
        f"container 1234abcd1234 is using its referenced image {image.id[7:19]}"
    )
    removed = await images.remove("x:1", force=True, in_use=used)
    assert (removed.untagged, removed.deleted) == (("x:1",), ())
    with pytest.raises(ImageInUse, match=r"\(must be forced\).*by stopped container 1234abcd1234$"):
        await images.remove(image.id, in_use=used)
    running = ImageUser("12ab", running=True)
    with pytest.raises(ImageInUse, match=r"\(cannot be forced\).*running container 12ab$"):
        await images.remove(image.id, force=True, in_use=lambda _: running)
    with pytest.raises(ImageInUse, match=r"\(cannot be forced\) - .* used by a build$"):
        await images.remove(image.id, force=True, in_use=lambda _: ImageUser("", running=True))


async def test_an_id_with_names_in_two_repositories(images: FakeImages) -> None:
    image = images.add("x:1")
    images.tag(image.id, "y:1")
    with pytest.raises(ImageInUse, match="image is referenced in multiple repositories"):
        await images.remove(image.id[7:19], in_use=unused)
    removed = await images.remove(image.id[7:19], force=True, in_use=unused)
    assert removed.untagged == ("x:1", "y:1")
    assert removed.deleted == (image.id,)


async def test_children_and_parents(images: FakeImages) -> None:
    base = images.add("base:1")
    step = images.add(parent=base.id, Labels={"n": "1"})
    top = images.add("app:1", parent=step.id, Labels={"n": "2"})
    with pytest.raises(ImageInUse, match="image has dependent child images"):
        await images.remove(step.id, in_use=unused)
    removed = await images.remove("app:1", in_use=unused)
    assert removed.deleted == (top.id, step.id)
    assert images.get("base:1") == base


def test_chain_ids() -> None:
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    chains = chain_ids([a, b])
    assert chains[0] == a
    assert chains[1] != b
    assert chain_ids([]) == ()


def test_configs_with_nulls() -> None:
    config = parse_config(b'{"config":{"Env":null,"Cmd":null},"rootfs":{"diff_ids":null}}')
    assert (config.env, config.cmd, config.diff_ids) == ((), None, ())
    with pytest.raises(BadLayer):
        parse_config(b"[]")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("1970-01-01T01:00:00.5+01:00", 0.5),
        ("nonsense", 0.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


def test_times_there_and_back() -> None:
    assert parse_time(rfc3339(1_700_000_000.25)) == 1_700_000_000.25
