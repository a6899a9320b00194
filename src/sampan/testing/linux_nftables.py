"""nftables of ``FakeLinux``: reads the commands that ``network`` writes, applies them whole or not.

What is understood is what sampan says: tables, sets, maps, chains and rules, as commands and as
blocks. Rules are kept as text; of what they say only what they refer to is looked at.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from sampan.kernel.nft import NftError
from sampan.testing.linux_state import FakeTable, Space

_handles = itertools.count(1)
_SAYS = {
    "missing": "Error: Could not process rule: No such file or directory",
    "exists": "Error: Could not process rule: File exists",
    "busy": "Error: Could not process rule: Device or resource busy",
    "syntax": "Error: syntax error",
}
_COMMENT = re.compile(r'comment "([^"]*)"')
_JUMP = re.compile(r"\b(?:jump|goto) ([\w-]+)")
_SET = re.compile(r"@([\w-]+)")

Tables = dict[tuple[str, str], FakeTable]


class _Refused(Exception):
    pass


class FakeNft:
    """Fulfils ``Nftables`` for one namespace."""

    def __init__(self, space: Space, gate: Callable[[str], AbstractContextManager[None]]) -> None:
        self._space, self._gate = space, gate

    def run(self, command: str) -> str:
        try:
            with self._gate("nft"):
                work = _Transaction(copy.deepcopy(self._space.tables))
                for statement in statements(command):
                    work.apply(statement)
                work.check()
                self._space.tables = work.tables
                return "".join(work.printed)
        except _Refused as refusal:
            raise NftError(command, _SAYS.get(str(refusal), str(refusal))) from None
        except OSError as error:
            raise NftError(command, f"Error: {error.strerror}") from None

    def query(self, command: str) -> list[dict[str, Any]]:
        try:
            with self._gate("nft list"):
                return _listed(self._space.tables, command.split())
        except _Refused as refusal:
            raise NftError(command, _SAYS[str(refusal)]) from None
        except OSError as error:
            raise NftError(command, f"Error: {error.strerror}") from None

    def close(self) -> None:
        return

    def __enter__(self) -> FakeNft:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Transaction:
    """Works on a copy."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.printed: list[str] = []

    def apply(self, statement: str) -> None:
        """Raises _Refused."""
        head, brace, inside = statement.partition("{")
        words = head.split()
        block = inside.rpartition("}")[0] if brace else ""
        match words:
            case ["list", *_]:
                self.printed.append(_printed(self.tables, words))
            case ["table", family, name] if brace:
                self._block((family, name), block)
            case ["add" | "create" as verb, "table", family, name]:
                if verb == "create" and (family, name) in self.tables:
                    raise _Refused("exists")
                self.tables.setdefault((family, name), FakeTable())
            case ["delete", "table", family, name]:
                self._table(family, name)
                del self.tables[family, name]
            case ["add", "set" | "map", family, table, name]:
                self._declare(self._table(family, table), name, block)
            case ["flush", "set" | "map", family, table, name]:
                self._set(family, table, name).clear()
            case ["add", "chain", family, table, name]:
                self._chain(self._table(family, table), name, block)
            case ["flush", "chain", family, table, name]:
                self._rules(family, table, name).clear()
            case ["delete", "chain", family, table, name]:
                self._rules(family, table, name)
                del self.tables[family, table].chains[name], self.tables[family, table].rules[name]
            case ["delete", "rule", family, table, chain, "handle", handle]:
                rules = self._rules(family, table, chain)
                found = [rule for rule in rules if rule[0] == int(handle)]
                if not found:
                    raise _Refused("missing")
                rules.remove(found[0])
            case ["add" | "insert" as verb, "rule", family, table, chain, *_]:
                text = " ".join(statement.split()[5:])
                rules = self._rules(family, table, chain)
                rules.insert(0 if verb == "insert" else len(rules), (next(_handles), text))
            case ["add" | "delete" as verb, "element", family, table, name]:
                self._elements(verb, self._set(family, table, name), block)
            case _:
                raise _Refused("syntax")

    def check(self) -> None:
        """What rules and elements refer to must be there at the end. Raises _Refused."""
        for table in self.tables.values():
            said = [rule for rules in table.rules.values() for _, rule in rules]
            for rule in said:
                if not table.sets.keys() >= set(_SET.findall(rule)):
                    raise _Refused("missing")
            verdicts = [value for elements in table.sets.values() for value in elements.values()]
            for text in (*said, *verdicts):
                if not table.chains.keys() >= set(_JUMP.findall(text)):
                    # of a chain that was deleted: it is in use
                    raise _Refused("busy")

    def _block(self, key: tuple[str, str], block: str) -> None:
        table = self.tables.setdefault(key, FakeTable())
        for part in statements(block):
            head, _, inside = part.partition("{")
            body = inside.rpartition("}")[0]
            match head.split():
                case ["set" | "map", name]:
                    self._declare(table, name, body)
                case ["chain", name]:
                    lines = list(statements(body))
                    hooked = [line for line in lines if line.startswith(("type ", "policy "))]
                    self._chain(table, name, "; ".join(hooked))
                    for rule in lines:
                        if rule not in hooked:
                            table.rules[name].append((next(_handles), " ".join(rule.split())))
                case _:
                    raise _Refused("syntax")

    def _declare(self, table: FakeTable, name: str, block: str) -> None:
        said = list(statements(block))
        kind = "; ".join(line for line in said if not line.startswith("elements"))
        if table.kinds.setdefault(name, kind) != kind:
            raise _Refused("exists")
        elements = table.sets.setdefault(name, {})
        for line in said:
            if line.startswith("elements"):
                self._elements("add", elements, line.partition("{")[2].rpartition("}")[0])

    def _chain(self, table: FakeTable, name: str, hook: str) -> None:
        table.chains.setdefault(name, " ".join(hook.split()).rstrip(";"))
        table.rules.setdefault(name, [])

    def _elements(self, verb: str, elements: dict[str, str], block: str) -> None:
        for element in (" ".join(part.split()) for part in block.split(",")):
            key, _, value = element.partition(" : ")
            if verb == "delete":
                if key not in elements:
                    raise _Refused("missing")
                del elements[key]
            elif elements.setdefault(key, value) != value:
                raise _Refused("exists")

    def _table(self, family: str, name: str) -> FakeTable:
        if (family, name) not in self.tables:
            raise _Refused("missing")
        return self.tables[family, name]

    def _set(self, family: str, table: str, name: str) -> dict[str, str]:
        sets = self._table(family, table).sets
        if name not in sets:
            raise _Refused("missing")
        return sets[name]

    def _rules(self, family: str, table: str, chain: str) -> list[tuple[int, str]]:
        rules = self._table(family, table).rules
        if chain not in rules:
            raise _Refused("missing")
        return rules[chain]


def statements(text: str) -> Iterator[str]:
    """The commands of a text: split at newlines and semicolons outside of braces. A line that is
    only opened by its brace goes on to the brace that closes it."""
    depth, start, quoted = 0, 0, False
    for at, character in enumerate(text + "\n"):
        if character == '"':
            quoted = not quoted
        if quoted:
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0 and character in "\n;":
            if statement := text[start:at].strip():
                yield statement
            start = at + 1
    if depth:
        raise _Refused("syntax")


def _printed(tables: Tables, words: list[str]) -> str:
    """What ``nft list`` shows, or enough of it."""
    if words[1:2] == ["tables"]:
        return "".join(f"table {family} {name}\n" for family, name in tables)
    if words[1:2] == ["table"]:
        key = (words[2], words[3])
        if key not in tables:
            raise _Refused("missing")
        return _shown(key, tables[key])
    return "".join(_shown(key, table) for key, table in tables.items())


def _shown(key: tuple[str, str], table: FakeTable) -> str:
    lines = [f"table {key[0]} {key[1]} {{"]
    for name, elements in table.sets.items():
        inside = ", ".join(f"{k} : {v}" if v else k for k, v in elements.items())
        lines.append(f"\t{name} {{ {table.kinds[name]}; elements = {{ {inside} }} }}")
    for name, hook in table.chains.items():
        lines.append(f"\tchain {name} {{ {hook}")
        lines += [f"\t\t{rule}" for _, rule in table.rules[name]]
        lines.append("\t}")
    return "\n".join([*lines, "}\n"])


def _listed(tables: Tables, words: list[str]) -> list[dict[str, Any]]:
    """As libnftables tells it in JSON."""
    match words:
        case ["list", "tables", *family]:
            return [
                {"table": {"family": f, "name": name}}
                for f, name in tables
                if not family or f == family[0]
            ]
        case ["list", "chain", family, table, name]:
            found = tables.get((family, table))
            if found is None or name not in found.chains:
                raise _Refused("missing")
            policy = re.search(r"policy (\w+)", found.chains[name])
            chain: dict[str, Any] = {"family": family, "table": table, "name": name}
            if found.chains[name]:
                chain["policy"] = policy[1] if policy else "accept"
            rules: list[dict[str, Any]] = []
            for handle, rule in found.rules[name]:
                told: dict[str, Any] = {"family": family, "table": table, "chain": name}
                told["handle"] = handle
                if comment := _COMMENT.search(rule):
                    told["comment"] = comment[1]
                rules.append({"rule": told})
            return [{"chain": chain}, *rules]
        case ["list", "set" | "map", family, table, name]:
            found = tables.get((family, table))
            if found is None or name not in found.sets:
                raise _Refused("missing")
            elements = [{"elem": k} if not v else [k, v] for k, v in found.sets[name].items()]
            told = {"family": family, "table": table, "name": name}
            return [{"set": told | ({"elem": elements} if elements else {})}]
    raise _Refused("syntax")
