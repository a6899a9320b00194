"""Lists on the terminal: aligned columns, or what ``--format`` says for each row."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sampan.cli.terminal.console import Console

_GAP = 3
_LEAST = 10


def align(lines: Iterable[Sequence[str]]) -> list[str]:
    """Cells as lines; every column but the last is as wide as its widest cell and a gap."""
    rows = list(lines)
    columns = max((len(row) for row in rows), default=0)
    widths = [
        max([_LEAST, *(len(row[at]) + _GAP for row in rows if len(row) > at + 1)])
        for at in range(columns)
    ]
    return [
        "".join(f"{cell:{widths[at]}}" for at, cell in enumerate(row[:-1]))
        + (row[-1] if row else "")
        for row in rows
    ]


def show_rows(
    console: Console,
    rows: Iterable[Mapping[str, Any]],
    headers: Mapping[str, str],
    columns: Sequence[str],
    form: str = "",
) -> None:
    """Print rows: as a table of ``columns``, or by a ``--format`` template.

    ``headers``: each field's heading. Raises TemplateError.
    """
    if not form or form == "table":
        cells = [[str(row[name]) for name in columns] for row in rows]
        for line in align([[headers[name] for name in columns], *cells]):
            console.out(line.rstrip())
        return
    from sampan.templates import Template

    if form == "json":
        form = "{{json .}}"
    form = form.replace("\\t", "\t").replace("\\n", "\n")
    if not form.startswith("table"):
        template = Template(form)
        for row in rows:
            console.out(template.render(row))
        return
    template = Template(form[5:].lstrip(" "))
    heading: dict[str, Any] = dict(headers)
    heading["Label"] = lambda name: name.rpartition(".")[2]
    lines = [template.render(heading), *(template.render(row) for row in rows)]
    for line in align([line.split("\t") for line in lines]):
        console.out(line.rstrip())
