from __future__ import annotations

import pytest

from sampan.cluster.templates import PlaceholderValues, TemplateError, check, expand

NAMES = PlaceholderValues(
    service_id="s1",
    service_name="web",
    service_labels={"a.b": "label"},
    node_id="n1",
    node_hostname="host",
    node_os="linux",
    node_architecture="x86_64",
    task_id="t1",
    task_name="web.3.t1",
    task_slot="3",
)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("{{.Service.Name}}-{{ .Task.Slot }}", "web-3"),
        (
            "{{.Node.Hostname}}/{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}",
            "host/linux/x86_64",
        ),
        ("{{.Service.ID}}{{.Node.ID}}{{.Task.ID}} {{.Task.Name}}", "s1n1t1 web.3.t1"),
        ('{{index .Service.Labels "a.b"}}{{index .Service.Labels "none"}}', "label"),
        ("{{- .Task.Slot -}}", "3"),
        ("A={{", "A={{"),
    ],
)
def test_placeholders(text: str, expanded: str) -> None:
    assert expand(text, NAMES) == expanded


@pytest.mark.parametrize("text", ["{{.Nope}}", "{{}}", '{{env "A"}}', "{{range .X}}"])
def test_what_stands_for_nothing_is_said(text: str) -> None:
    with pytest.raises(TemplateError, match="stands for nothing"):
        expand(text, NAMES)


def test_functions() -> None:
    functions = {"env": lambda name: f"<{name}>"}
    assert expand('a={{env "HOME"}}', NAMES, functions) == "a=<HOME>"


@pytest.mark.parametrize(
    "text", ["", "plain }}", "{{.Task.Slot}}-{{.Node.ID}}", '{{index .Service.Labels "a"}}']
)
def test_what_can_be_expanded_later(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{.Bad", "unclosed action"),
        ("{{.Task.Slot}}{{", "unclosed action"),
        ("{{.Bad}}", "stands for nothing"),
        ('{{env "HOME"}}', "stands for nothing"),
    ],
)
def test_what_never_can_be_is_known_before(text: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        check(text)
