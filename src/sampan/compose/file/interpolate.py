"""``${VARIABLE}`` substitution: a pure function over text, and its walk over a tree.

    $NAME ${NAME}        the value, empty (with a warning) when unset
    ${NAME:-w} ${NAME-w} w when unset or empty / when unset
    ${NAME:?m} ${NAME?m} fail with m when unset or empty / when unset
    ${NAME:+w} ${NAME+w} w when set and not empty / when set, else nothing
    $$                   one dollar sign, as is a $ that begins none of these

Words nest: ``${A:-${B:-c}}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sampan.compose.errors import ComposeFileError
from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq
from sampan.errors import InvalidArgument

_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_REST = _START | frozenset("0123456789")


class BadSubstitution(InvalidArgument):
    """``${`` is followed by something that is not a variable."""


class RequiredVariable(InvalidArgument):
    """``${NAME:?message}``, and the variable is not there."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"required variable {name} is missing a value: {message or 'set it'}")
        self.name = name


def substitute(
    text: str, variables: Mapping[str, str], unset: Callable[[str], None] = lambda name: None
) -> str:
    """``text`` with its variables replaced. ``unset`` hears of each that fell back to nothing.

    Raises:
        BadSubstitution: the syntax is wrong; the message shows a way to write it.
        RequiredVariable: a ``:?`` or ``?`` form found nothing.
    """
    if "$" not in text:
        return text
    result, end = _Scan(text, variables, unset).until_end()
    assert end == len(text)
    return result


class _Scan:
    def __init__(
        self, text: str, variables: Mapping[str, str], unset: Callable[[str], None]
    ) -> None:
        self.text = text
        self.variables = variables
        self.unset = unset

    def until_end(self) -> tuple[str, int]:
        return self._run(0, in_braces=False, live=True)

    def _run(self, at: int, *, in_braces: bool, live: bool) -> tuple[str, int]:
        """Substitute from ``at`` to the end, or to the brace that closes the word we are in.

        A word that is not taken (``live`` false) is still scanned, to find its end, but neither
        complains about its variables nor fails for them.
        """
        out: list[str] = []
        text = self.text
        while at < len(text):
            char = text[at]
            if in_braces and char == "}":
                return "".join(out), at
            if char != "$":
                out.append(char)
                at += 1
                continue
            following = text[at + 1 : at + 2]
            if following == "$":
                out.append("$")
                at += 2
            elif following == "{":
                value, at = self._braced(at + 2, live)
                out.append(value)
            elif following in _START and following:
                end = at + 1
                while end < len(text) and text[end] in _REST:
                    end += 1
                out.append(self._plain(text[at + 1 : end], live))
                at = end
            else:
                out.append("$")  # it begins no variable: shells leave it alone, too
                at += 1
        if in_braces:
            raise BadSubstitution(f'invalid interpolation in "{text}": "}}" is missing')
        return "".join(out), at

    def _plain(self, name: str, live: bool) -> str:
        value = self.variables.get(name)
        if value is None:
            if live:
                self.unset(name)
            return ""
        return value

    def _braced(self, at: int, live: bool) -> tuple[str, int]:
        text = self.text
        end = at
        while end < len(text) and text[end] in _REST:
            end += 1
        name = text[at:end]
        if not name or name[0] not in _START:
            raise BadSubstitution(
                f'invalid interpolation in "{text}": "${{" must be followed by a name; '
                'for a dollar sign itself write "$$"'
            )
        if text[end : end + 1] == "}":
            return self._plain(name, live), end + 1
        colon = text[end : end + 1] == ":"
        operator = text[end + colon : end + colon + 1]
        if operator not in ("-", "?", "+"):
            raise BadSubstitution(
                f'invalid interpolation in "{text}": after "${{{name}" comes "}}" or one of '
                '":-", "-", ":?", "?", ":+", "+"'
            )
        value = self.variables.get(name)
        there = value is not None and not (colon and value == "")
        take_word = there if operator == "+" else not there
        word, close = self._run(end + colon + 1, in_braces=True, live=live and take_word)
        if operator == "?" and live and not there:
            raise RequiredVariable(name, word)
        if take_word:
            return word, close + 1
        return ("" if operator == "+" else value or ""), close + 1


def interpolate(
    node: Node, variables: Mapping[str, str], unset: Callable[[str], None], path: str = ""
) -> None:
    """Substitute in every value below ``node``, in place. Keys stay as they are.

    Raises:
        ComposeFileError: with the place of the value and its path.
    """
    if isinstance(node, Map):
        for key, value in node.entries.items():
            interpolate(value, variables, unset, f"{path}.{key}" if path else key)
    elif isinstance(node, Seq):
        for index, item in enumerate(node.items):
            interpolate(item, variables, unset, f"{path}[{index}]")
    elif "$" in node.text:
        _scalar(node, variables, unset, path)


def _scalar(
    node: Scalar, variables: Mapping[str, str], unset: Callable[[str], None], path: str
) -> None:
    try:
        node.text = substitute(node.text, variables, unset)
    except InvalidArgument as error:
        raise ComposeFileError(node.where, f"{path}: {error}") from None
    node.interpolated = True
