"""``--format`` templates, tables and units."""

from __future__ import annotations

import io
from contextlib import redirect_stdout, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cli.terminal.console import Console
from sampan.cli.terminal.table import align, show_rows
from sampan.cli.units import parse_duration, parse_size, parse_time, since
from sampan.template_functions import TemplateError
from sampan.templates import Template
from sampan.units import binary_size, human_size, span_words

VALUE: dict[str, Any] = {
    "Name": "web",
    "State": {"Status": "running", "Health": None, "Pid": 7},
    "List": ["x", "y"],
    "Empty": [],
    "Map": {"k.v": "1", "b": 2},
    "Number": 3,
    "Float": 1.5,
    "Yes": True,
    "Null": None,
    "Ports": [{"Host": "80"}],
    "Label": lambda name: f"<{name}>",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("{{.Name}}-{{.State.Status}}", "web-running"),
        ("{{ .Name }}", "web"),
        ("{{.Map}} {{.List}} {{.Yes}} {{.Float}}", "map[b:2 k.v:1] [x y] true 1.5"),
        ("{{.Null}}", "<no value>"),
        ("{{json .List}}{{json .Map}}", '["x","y"]{"k.v":"1","b":2}'),
        ("{{json .Nope}}", "null"),
        ('{{index .Map "k.v"}}{{index .List 1}}', "1y"),
        ('{{index .Map "nope"}}', ""),
        ("{{(index .Ports 0).Host}}", "80"),
        ("{{range .List}}<{{.}}>{{end}}", "<x><y>"),
        ("{{range $i, $x := .List}}{{$i}}{{$x}}{{end}}", "0x1y"),
        ("{{range $k, $v := .Map}}{{$k}}={{$v}};{{end}}", "b=2;k.v=1;"),
        ("{{range .Empty}}a{{else}}none{{end}}", "none"),
        ("{{range .List}}{{$.Name}}{{end}}", "webweb"),
        ("{{if .Yes}}a{{else}}b{{end}}", "a"),
        ("{{if .Nope}}a{{else if .Null}}b{{else}}c{{end}}", "c"),
        ('{{if eq .Name "db" "web"}}yes{{end}}', "yes"),
        ("{{if and .Yes (not .Null)}}yes{{end}}", "yes"),
        ("{{if gt .Number 2}}yes{{end}}", "yes"),
        ("{{with .State}}{{.Status}} {{$.Name}}{{end}}", "running web"),
        ("{{with .State.Health}}x{{end}}", ""),
        ("{{if .State.Health.Status}}x{{end}}", ""),
        ('{{.Name | upper | printf "%-5s|"}}', "WEB  |"),
        ('{{printf "%05d %q %v %5.2f%%" .Number .Name .List .Float}}', '00003 "web" [x y]  1.50%'),
        ('{{join .List ", "}} {{len .List}} {{title .Name}}', "x, y 2 Web"),
        ('{{range split "a,b" ","}}{{.}}.{{end}}', "a.b."),
        ("{{slice .Name 1 3}}{{truncate .Name 1}}{{pad .Name 1 2}}|", "ebw web  |"),
        ("{{$x := .Number}}{{$x}}", "3"),
        ('{{.Label "a.b"}}', "<a.b>"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{/* nothing */}}x", "x"),
        (r'{{"a\tb\n"}}{{`raw\t`}}', "a\tb\nraw\\t"),
        ("{{println .Name}}", "web\n"),
        ("{{true}}{{or .Null .Name}}", "trueweb"),
    ],
)
def test_templates(text: str, shown: str) -> None:
    assert Template(text).render(VALUE) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Nmae}}", "did you mean 'Name'"),
        ("{{.Name.First}}", "can't evaluate field First"),
        ("{{uper .Name}}", "did you mean 'upper'"),
        ("{{if .Name}}", "has no"),
        ("{{end}}", "unexpected"),
        ("{{.Name", "unclosed"),
        ("{{.Name)}}", "unexpected"),
        ("{{(.Name}}", "unclosed"),
        ("{{}}", "missing value"),
        ("{{$nope}}", "undefined variable"),
        ("{{index .List 9}}", "out of range"),
        ("{{range .Number}}{{end}}", "can't iterate"),
        ('{{.Name "x"}}', "not a function"),
        ("{{.Label}}", "give it an argument"),
        ("{{lt .Name .Number}}", "error calling lt"),
    ],
)
def test_mistakes_are_explained(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(text).render(VALUE)


@given(st.text(alphabet='{}.$|()" aN%-`/*', max_size=30))
def test_nothing_but_template_errors(text: str) -> None:
    with suppress(TemplateError):
        Template(text).render(VALUE)


def table(form: str = "") -> str:
    rows = [{"ID": "1", "Names": "a-long-name-indeed"}, {"ID": "22", "Names": "b"}]
    out = io.StringIO()
    with redirect_stdout(out):
        show_rows(Console(), rows, {"ID": "ID", "Names": "NAMES"}, ("Names", "ID"), form)
    return out.getvalue()


def test_tables() -> None:
    assert table() == ("NAMES                ID\na-long-name-indeed   1\nb                    22\n")
    assert table("table {{.ID}}\\t{{.Names}}") == (
        "ID        NAMES\n1         a-long-name-indeed\n22        b\n"
    )
    assert table("{{.ID}}") == "1\n22\n"
    assert table("json").splitlines()[1] == '{"ID":"22","Names":"b"}'
    assert align([]) == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (4261550, "4.262MB"), (10**9, "1GB")],
)
def test_sizes(size: int, text: str) -> None:
    assert human_size(size) == text


def test_more_sizes() -> None:
    assert human_size(4261550, 3) == "4.26MB"
    assert binary_size(1536 * 1024) == "1.5MiB"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 << 20), ("1g", 1 << 30), ("1.5G", 3 << 29), ("64MiB", 64 << 20), ("7", 7),
        ("1kb", 1024), ("10b", 10), ("2 GB", 2 << 30),
    ],
)  # fmt: skip
def test_parsing_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1x", "1mx", "-", "1.2.3m"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1m30s", 90 * 10**9), ("500ms", 5 * 10**8), ("0", 0), ("1.5h", 5400 * 10**9), ("2us", 2000)],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "5", "x", "1m 2s", "s"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (150, "2 minutes"), (3600, "About an hour"), (5400, "2 hours"), (86400, "24 hours"),
        (3 * 86400, "3 days"), (15 * 86400, "2 weeks"), (70 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_span_wordss(seconds: float, text: str) -> None:
    assert span_words(seconds) == text


def test_moments() -> None:
    assert since("10s", 100.0) == "90.000000000"
    assert since("0s", 100.0) == "100.000000000"
    assert since("1700000000", 5.0) == "1700000000"
    assert since("1970-01-01T00:01:00Z", 5.0) == "60.000000000"
    assert parse_time("0001-01-01T00:00:00Z") == 0.0
    assert parse_time("1970-01-01T00:00:01.123456789Z") == pytest.approx(1.123456)
