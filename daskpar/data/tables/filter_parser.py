"""Parses the text of a `filter`: an expression in a small language of Microsoft's, to a tree of tuples.

Nothing is ever handed to Python's `eval`. Nodes: ("value", constant), ("list", nodes), ("column", name),
("field", node, name), ("startswith", text, prefix), ("not", node), ("negative", node), ("positive", node),
("and" | "or", nodes), ("if", condition, then, otherwise), ("compare", sign, left, right), ("arithmetic",
sign, left, right).

The language looks like Python and differs: comparisons do not chain (`3 < i < 10` is `(3 < i) < 10`), there
is no `in`, `is`, `&` or `|`, an empty text can't be written, and words such as `or` need blanks around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

Node = tuple[Any, ...]

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>0[xX][0-9a-fA-F](?:_?[0-9a-fA-F])*|\d(?:_?\d)*\.(?:\d(?:_?\d)*)?(?:[eE][+-]?\d+)?|\d(?:_?\d)*[eE][+-]?\d+|[1-9](?:_?\d)*|0)(?![\w.])
    |(?P<text>[rR]?(?:"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'))
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>\*\*|//|==|!=|<=|>=|[-+*/%<>()\[\],.])""",
    re.VERBOSE,
)
_WORDS = {"or", "and", "not", "if", "else"}
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


DEEPEST = 100
"""Nodes above each other: as many as can be followed wherever a filter is evaluated."""
DEEPEST_PARENTHESES = 40
"""Likewise, of which each takes more of Python's stack."""


class BadExpression(ValueError):
    """The text of a filter is no expression; the message says where and why."""


@lru_cache(maxsize=64)
def parse_filter(text: str) -> Node:
    """The tree of a filter's text; BadExpression where it is none."""
    try:
        node = _Parser(text).whole()
    except RecursionError:
        node = None
    if node is None or _depth(node) > DEEPEST:
        raise BadExpression(
            f"filter {text[:40]!r}… is nested too deep: split it into several filters, one after the other"
        )
    return node


def columns_of(node: Node) -> frozenset[str]:
    """Names of the columns that a tree looks at."""
    if node[0] == "column":
        return frozenset({node[1]})
    return frozenset().union(*(columns_of(part) for part in _parts(node)))


def simple_terms(node: Node) -> list[tuple[str, str, Any]]:
    """Comparisons (column, sign, constant) that must all be true for the tree to be true.

    These are what the statistics of row groups can rule out.
    """
    if node[0] == "and":
        return [term for part in node[1] for term in simple_terms(part)]
    if node[0] == "compare":
        _, sign, left, right = node
        if left[0] == "column" and right[0] == "value":
            return [(left[1], sign, right[1])]
        if left[0] == "value" and right[0] == "column":
            return [(right[1], _MIRRORED[sign], left[1])]
    return []


def _depth(node: Node) -> int:
    """How many nodes lie above each other."""
    found, below = 0, [node]
    while below:
        found += 1
        below = [part for above in below for part in _parts(above)]
    return found


def _parts(node: Node) -> Iterator[Node]:
    for part in node[1:]:
        if isinstance(part, tuple):
            yield part
        elif isinstance(part, list):
            yield from part


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split())
        self.at = 0
        self.inside = 0

    def whole(self) -> Node:
        if not self.tokens:
            raise BadExpression("the filter is empty")
        node = self._choice()
        if self.at < len(self.tokens):
            self._stop(f"{self._peek()[1]!r} is not understood here")
        return node

    def _split(self) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            kind = found.lastgroup if found else None
            if found is None or kind is None:
                self._fail(at, f"{self.text[at : at + 10]!r} is not understood")
            if kind == "name" and found[0] in _WORDS:
                self._check_blanks(found)
                yield "word", found[0], at
            elif kind != "blank":
                yield kind, found[0], at
            at = found.end()

    def _check_blanks(self, found: re.Match[str]) -> None:
        before, after = self.text[: found.start()], self.text[found.end() :]
        if not after[:1].isspace() or (found[0] != "not" and not before[-1:].isspace()):
            self._fail(found.start(), f"put blanks around {found[0]!r}")

    def _peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", len(self.text))

    def _take(self, *texts: str) -> str | None:
        kind, text, _ = self._peek()
        if kind in ("word", "sign") and text in texts:
            self.at += 1
            return text
        return None

    def _need(self, text: str) -> None:
        if not self._take(text):
            self._stop(f"{text!r} is missing")

    def _stop(self, why: str) -> NoReturn:
        self._fail(self._peek()[2], why)

    def _fail(self, at: int, why: str) -> NoReturn:
        hint = ""
        sign = self.text[at : at + 1]
        if sign in "&|~":
            hint = "; use `and`, `or`, `not`"
        elif sign == "=":
            hint = "; use `==` to compare"
        elif self.text[at : at + 2] in ('""', "''"):
            hint = "; an empty text can't be written"
        elif sign == ".":
            hint = "; write numbers as 0.5, not .5"
        raise BadExpression(f"filter {self.text!r}, character {at + 1}: {why}{hint}")

    def _choice(self) -> Node:
        node = self._or()
        if self._take("if"):
            condition = self._or()
            self._need("else")
            return ("if", condition, node, self._choice())
        return node

    def _or(self) -> Node:
        nodes = [self._and()]
        while self._take("or"):
            nodes.append(self._and())
        return ("or", nodes) if len(nodes) > 1 else nodes[0]

    def _and(self) -> Node:
        nodes = [self._not()]
        while self._take("and"):
            nodes.append(self._not())
        return ("and", nodes) if len(nodes) > 1 else nodes[0]

    def _not(self) -> Node:
        return ("not", self._not()) if self._take("not") else self._comparison()

    def _comparison(self) -> Node:
        node = self._sum()
        while sign := self._take(*_COMPARISONS):
            node = ("compare", sign, node, self._sum())
        return node

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("+", "-"):
            node = ("arithmetic", sign, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._signed()
        while sign := self._take("*", "/", "//", "%"):
            node = ("arithmetic", sign, node, self._signed())
        return node

    def _signed(self) -> Node:
        sign = self._take("-", "+")
        if sign is None:
            return self._power()
        node = self._signed()
        if node[0] == "value" and isinstance(node[1], (int, float)) and not isinstance(node[1], bool):
            return ("value", -node[1] if sign == "-" else node[1])
        return ("negative" if sign == "-" else "positive", node)

    def _power(self) -> Node:
        node = self._trailed()
        return ("arithmetic", "**", node, self._signed()) if self._take("**") else node

    def _trailed(self) -> Node:
        node = self._atom()
        while self._take("."):
            kind, name, _ = self._peek()
            if kind != "name":
                self._stop("the name of a field is missing")
            self.at += 1
            if self._take("("):
                self._known(name, "startswith")
                node = ("startswith", node, *self._arguments(1, 1, name))
            else:
                node = ("field", node, name)
        return node

    def _atom(self) -> Node:
        kind, text, at = self._peek()
        self.at += 1
        if kind == "number":
            return ("value", _number(text))
        if kind == "text":
            return ("value", self._text(text, at))
        if kind == "name":
            return self._named(text)
        if (kind, text) == ("sign", "["):
            return ("list", self._list("]"))
        if (kind, text) == ("sign", "("):
            self.inside += 1
            if self.inside > DEEPEST_PARENTHESES:
                raise RecursionError
            node = self._choice()
            self.inside -= 1
            if self._take(","):
                return ("list", [node, *self._list(")")])
            self._need(")")
            return node
        self.at -= 1
        return self._stop("a value is missing" if kind == "end" else f"{text!r} is not understood here")

    def _named(self, name: str) -> Node:
        constants = {"True": True, "False": False, "None": None}
        if name in constants:
            return ("value", constants[name])
        if not self._take("("):
            return ("column", name)
        self._known(name, "col", "datetime", "startswith")
        if name == "startswith":
            return ("startswith", *self._arguments(2, 2, name))
        arguments = self._arguments(1, 6 if name == "datetime" else 1, name)
        values = [argument[1] for argument in arguments if argument[0] == "value"]
        if name == "col":
            if len(values) != 1 or not isinstance(values[0], str):
                self._stop('`col` takes the name of a column as a text: col("name")')
            return ("column", values[0])
        if len(values) != len(arguments) or not all(type(value) is int for value in values):
            self._stop("`datetime` takes whole numbers: datetime(2020, 1, 31)")
        try:
            return ("value", datetime(*[*values, 1, 1][: max(3, len(values))]))
        except ValueError as error:
            self._stop(f"`datetime` got no date: {error}")

    def _known(self, name: str, *known: str) -> None:
        if name not in known:
            self.at -= 2
            self._stop(f"there is no function {name!r} (only startswith and datetime, and col for columns)")

    def _arguments(self, least: int, most: int, name: str) -> list[Node]:
        found = self._list(")")
        if not least <= len(found) <= most:
            self._stop(
                f"{name!r} takes {least if least == most else f'{least} to {most}'} values "
                f"in its parentheses, not {len(found)}"
            )
        return found

    def _list(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._take(end):
            if found:
                self._need(",")
                if self._take(end):
                    break
            found.append(self._choice())
        return found

    def _text(self, token: str, at: int) -> str:
        raw = token[0] in "rR"
        body = token[2:-1] if raw else token[1:-1]
        if not body:
            self._fail(at, "an empty text is not understood")
        return (
            body
            if raw
            else re.sub(
                r"\\(x[0-9a-fA-F]{2}|.)", lambda found: self._escape(found[1], at), body, flags=re.DOTALL
            )
        )

    def _escape(self, code: str, at: int) -> str:
        if code[0] == "x" and len(code) == 3:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            self._fail(at, f"the escape \\{code} is not understood")
        return _ESCAPES[code]


def _number(text: str) -> int | float:
    text = text.replace("_", "")
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text) if text.isdigit() else float(text)
