"""``--format``: the part of Go's templates that people use with docker. Pure.

A template is parsed once into a tree of nodes and run over values as JSON has them. A field that
does not exist is false in ``if``, and an error where it would be printed: a misspelled field must
not look like an empty one.

    text {{.Field.Sub}} {{json .}} {{index .Map "key"}} {{range $i, $x := .List}}..{{else}}..{{end}}
    {{if eq .A "x"}}..{{else if .B}}..{{end}} {{with .X}}..{{end}} {{.A | upper | printf "%-10s"}}
"""

from __future__ import annotations

import re

from sampan.template_functions import FUNCTIONS, MISSING, Missing, TemplateError, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scope = dict[str, Any]
    Node = Callable[[Any, Scope], str]
    Expression = Callable[[Any, Scope], Any]

_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<field>\.[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*|\.(?![\w]))"""
    r"""|(?P<variable>\$\w*(?:\.\w+)*)|(?P<name>[A-Za-z_]\w*)|(?P<sign>:=|[|(),=]))"""
)
_BLOCKS = ("if", "range", "with")


class Template:
    """A parsed template."""

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        self._tokens = _split(text)
        self._at = 0
        self._body, ended = self._block()
        if ended:
            raise TemplateError(f"unexpected {{{{{ended}}}}}")

    def render(self, value: Any) -> str:
        """The text for one value. Raises TemplateError."""
        return self._body(value, {"$": value})

    def _block(self) -> tuple[Node, str]:
        """Nodes up to ``else``, ``end`` or the end: (one node for all, the word that ended it)."""
        nodes: list[Node] = []
        while self._at < len(self._tokens):
            is_action, text = self._tokens[self._at]
            self._at += 1
            if not is_action:
                nodes.append(lambda _value, _scope, text=text: text)  # type: ignore[misc]
                continue
            word = text.split(None, 1)[0] if text else ""
            if word in ("end", "else"):
                return _sequence(nodes), text
            if word in _BLOCKS:
                nodes.append(self._control(word, text[len(word) :]))
            elif not text.startswith("/*"):
                nodes.append(_action(text))
        return _sequence(nodes), ""

    def _control(self, word: str, head: str) -> Node:
        body, ended = self._block()
        otherwise: Node = _sequence([])
        if ended.startswith("else"):
            rest = ended[4:].strip()
            if rest:  # else if: the inner block takes the end with it
                inner = rest.split(None, 1)[0]
                if inner not in ("if", "with"):
                    raise TemplateError(f"unexpected {rest!r} behind else")
                otherwise, ended = self._control(inner, rest[len(inner) :]), "end"
            else:
                otherwise, ended = self._block()
        if ended != "end":
            raise TemplateError(f"{{{{{word}}}}} has no {{{{end}}}}")
        names, expression = _declaration(head)
        if word == "range":
            return _range(names, expression, body, otherwise)
        return _choice(word, names, expression, body, otherwise)


def _split(text: str) -> list[tuple[bool, str]]:
    """(is an action, text) pairs; ``{{- `` and `` -}}`` have eaten the blanks beside them."""
    out: list[tuple[bool, str]] = []
    at, trim = 0, False
    for match in _ACTION.finditer(text):
        plain = text[at : match.start()]
        plain = plain.lstrip() if trim else plain
        plain = plain.rstrip() if match[1] else plain
        if plain:
            out.append((False, plain))
        out.append((True, match[2].strip()))
        at, trim = match.end(), bool(match[3])
    rest = text[at:]
    if "{{" in rest:
        raise TemplateError("unclosed action: a {{ without its }}")
    rest = rest.lstrip() if trim else rest
    return [*out, (False, rest)] if rest else out


def _sequence(nodes: list[Node]) -> Node:
    if len(nodes) == 1:
        return nodes[0]
    return lambda value, scope: "".join(node(value, scope) for node in nodes)


def _action(text: str) -> Node:
    names, expression = _declaration(text)
    if not names:
        return lambda value, scope: show(expression(value, scope))

    def assign(value: Any, scope: Scope) -> str:
        scope[names[0]] = expression(value, scope)
        return ""

    return assign


def _choice(
    word: str, names: list[str], expression: Expression, body: Node, otherwise: Node
) -> Node:
    def run(value: Any, scope: Scope) -> str:
        found = expression(value, scope)
        if not found:
            return otherwise(value, scope)
        inner = {**scope, names[0]: found} if names else scope
        return body(found if word == "with" else value, inner)

    return run


def _range(names: list[str], expression: Expression, body: Node, otherwise: Node) -> Node:
    def run(value: Any, scope: Scope) -> str:
        found = expression(value, scope)
        if not found:
            return otherwise(value, scope)
        if isinstance(found, dict):
            pairs = sorted(found.items())
        elif isinstance(found, list):
            pairs = list(enumerate(found))
        else:
            raise TemplateError(f"range can't iterate over {show(found)}")
        out = []
        for key, item in pairs:
            inner = dict(scope)
            if names:
                inner[names[-1]] = item
            if len(names) > 1:
                inner[names[0]] = key
            out.append(body(item, inner))
        return "".join(out)

    return run


def _declaration(text: str) -> tuple[list[str], Expression]:
    """``$i, $x := pipeline``: (variables, expression)."""
    tokens = _tokenize(text)
    names: list[str] = []
    for position, (kind, word) in enumerate(tokens):
        if kind == "sign" and word in (":=", "="):
            names = [name for kind, name in tokens[:position] if kind == "variable"]
            tokens = tokens[position + 1 :]
            break
    parser = _Pipeline(tokens)
    expression = parser.pipeline()
    if parser.at < len(tokens):
        raise TemplateError(f"unexpected {tokens[parser.at][1]!r} in {text.strip()!r}")
    return names, expression


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise TemplateError(f"unexpected {text[at:].strip()[:1]!r} in {text!r}")
        tokens.append((str(match.lastgroup), str(match[str(match.lastgroup)])))
        at = match.end()
        # A field glued to a closing bracket, "(index .X 0).Name", belongs to it.
        if tokens[-1][1] == ")" and text.startswith(".", at):
            tokens.append(("glued", ""))
    return tokens


class _Pipeline:
    """Recursive descent over the tokens of one action."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0

    def pipeline(self) -> Expression:
        expression = self.command(None)
        while self._sign("|"):
            expression = self.command(expression)
        return expression

    def command(self, piped: Expression | None) -> Expression:
        operands: list[Expression] = []
        name = ""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "name":
            word = self.tokens[self.at][1]
            if word not in ("true", "false", "nil"):
                name = word
                self.at += 1
        while (operand := self.operand()) is not None:
            operands.append(operand)
        if name:
            return _call(name, [*operands, piped] if piped else operands)
        if not operands:
            raise TemplateError("missing value for command")
        if len(operands) == 1 and piped is None:
            return operands[0]
        return _method(operands[0], [*operands[1:], *([piped] if piped else [])])

    def operand(self) -> Expression | None:
        if self.at >= len(self.tokens):
            return None
        kind, word = self.tokens[self.at]
        if kind == "sign" and word != "(":
            return None
        self.at += 1
        match kind:
            case "sign":
                inner = self.pipeline()
                if not self._sign(")"):
                    raise TemplateError("unclosed left parenthesis")
                if self.at < len(self.tokens) and self.tokens[self.at][0] == "glued":
                    path = self.tokens[self.at + 1][1].split(".")[1:]
                    self.at += 2
                    return lambda value, scope: _walk(inner(value, scope), path)
                return inner
            case "string":
                text = _unquote(word)
                return lambda _value, _scope: text
            case "number":
                number = float(word) if "." in word else int(word)
                return lambda _value, _scope: number
            case "field":
                path = [part for part in word.split(".") if part]
                return lambda value, _scope: _walk(value, path)
            case "variable":
                name, *path = word.split(".")
                return lambda _value, scope: _walk(_variable(scope, name), path)
            case "glued":
                return self.operand()
            case _:
                constant = {"true": True, "false": False, "nil": None}.get(word)
                if constant is None and word != "nil":
                    return _call(word, [])
                return lambda _value, _scope: constant

    def _sign(self, sign: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == ("sign", sign):
            self.at += 1
            return True
        return False


def _unquote(word: str) -> str:
    if word.startswith("`"):
        return word[1:-1]
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[1]), word[1:-1])


def _call(name: str, operands: list[Expression]) -> Expression:
    function = FUNCTIONS.get(name)
    if function is None:
        from difflib import get_close_matches

        near = get_close_matches(name, FUNCTIONS, 1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise TemplateError(f"function {name!r} not defined{hint}")

    def run(value: Any, scope: Scope) -> Any:
        try:
            return function(*(operand(value, scope) for operand in operands))
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise TemplateError(f"error calling {name}: {error}") from error

    return run


def _method(target: Expression, operands: list[Expression]) -> Expression:
    """A field with arguments, ``.Label "x"``: only what a row offers as a function."""

    def run(value: Any, scope: Scope) -> Any:
        function = target(value, scope)
        if not callable(function):
            raise TemplateError("can't give arguments to something that is not a function")
        return function(*(operand(value, scope) for operand in operands))

    return run


def _variable(scope: Scope, name: str) -> Any:
    if name not in scope:
        raise TemplateError(f"undefined variable {name!r}")
    return scope[name]


def _walk(value: Any, path: list[str]) -> Any:
    for position, name in enumerate(path):
        if isinstance(value, dict):
            value = value[name] if name in value else Missing(name, sorted(map(str, value)))
        elif value is None or isinstance(value, Missing):
            return MISSING if value is None else value
        else:
            where = "." + ".".join(path[: position + 1])
            raise TemplateError(f"can't evaluate field {name} at <{where}>")
    return value
