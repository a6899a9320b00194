"""What .env says about which files and profiles to take, and what ``config`` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sampan.compose import cli
from sampan.compose.commands.app import App
from sampan.flags import Args, Command


def nobody() -> object:
    raise AssertionError("no engine is asked")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def config(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(["-p", "p", *argv], nobody) == 0  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_profiles_of_dotenv_are_active(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / ".env").write_text("COMPOSE_PROFILES=full, other\n")
    (here / "compose.yaml").write_text(
        "services:\n  base: {image: b}\n  extra: {image: b, profiles: [full]}\n"
        "  more: {image: b, profiles: [other]}\n  off: {image: b, profiles: [off]}\n"
    )
    assert set(config(capsys, "config", "--services").split()) == {"base", "extra", "more"}
    assert "off" in config(capsys, "--profile", "off", "config", "--services").split()


def test_files_of_dotenv_are_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / ".env").write_text("COMPOSE_FILE=one.yaml;two.yaml\nCOMPOSE_PATH_SEPARATOR=;\n")
    (here / "one.yaml").write_text("services: {a: {image: b}}")
    (here / "two.yaml").write_text("services: {c: {image: d}}")
    assert config(capsys, "config", "--services").split() == ["a", "c"]


def test_config_without_interpolation_keeps_variables(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "compose.yaml").write_text("services: {a: {image: 'b:${TAG:-1}', attach: false}}")
    plain = json.loads(config(capsys, "config", "--format=json", "--no-interpolate"))
    assert plain["services"]["a"]["image"] == "b:${TAG:-1}"
    whole = json.loads(config(capsys, "config", "--format", "json"))
    assert whole["services"]["a"]["image"] == "b:1"
    assert whole["services"]["a"]["attach"] is False


def test_a_warning_is_told_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "compose.yaml").write_text(
        "services: {a: {image: b, container_name: $UNSET, deploy: {mode: global}}}"
    )
    top = Args(Command("compose", "", "", lambda app, args: 0, cli.GLOBAL))
    app = App(top, top, nobody, {})  # type: ignore[arg-type]
    for _ in range(2):
        app.load()
        app.load(every_profile=True)
    told = capsys.readouterr().err
    assert told.count('"UNSET" is not set') == 1
    assert told.count("global is for clusters; one host runs it as replicated") == 1
