"""Parses bindings in a text: `${{...}}`, and segments `$[[...]]` that vanish with an empty optional input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from daskpar.value_classes import frozen

_BINDING = re.compile(r"\$\{\{([^{}]*)\}\}")
_SEGMENT = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_FORMS = re.compile(
    rf"(?P<parent>parent\.)?(?:jobs\.(?P<step>[A-Za-z_][A-Za-z0-9_\-]*)\.)?(?P<kind>inputs|outputs)\.(?P<name>{_NAME})"
    r"|(?P<server>default_datastore|name|output_name)"
)

OWN = "own"
PARENT = "parent"
SERVER = "server"


@frozen
class Binding:
    """What stands between `${{` and `}}`, without the blanks round it."""

    body: str

    def __str__(self) -> str:
        return "${{" + self.body + "}}"


@frozen(kw_only=True)
class Reference:
    """What a binding refers to: an input or output, and whose."""

    scope: str
    """`own` (the step's), `parent` (the pipeline's, or another step's where `step` is set), or `server` (a
    name that Azure fills in).
    """
    kind: str = ""
    """`inputs` or `outputs`; empty for `server`."""
    name: str
    """The port, with dots for a group's members; or `default_datastore`, `name`, `output_name`."""
    step: str | None = None


class BindingError(ValueError):
    """The text holds something that only begins like a binding; the message says what."""


def parse(text: str) -> list[str | Binding]:
    """The text cut at its bindings: texts (never empty) and Bindings, in order. Raises BindingError where one
    is not closed.
    """
    parts: list[str | Binding] = []
    end = 0
    for match in _BINDING.finditer(text):
        parts += [text[end : match.start()], Binding(match.group(1).strip())]
        end = match.end()
    parts.append(text[end:])
    for part in parts:
        if isinstance(part, str) and "${{" in part:
            start = part.index("${{")
            raise BindingError(
                f"'{part[start : start + 40]}' is not closed: a binding is '${{{{', a name, '}}}}'."
            )
    return [part for part in parts if part != ""]


def bindings_in(text: str) -> Iterator[Binding]:
    """The bindings of a text; none where it is malformed."""
    return (Binding(match.group(1).strip()) for match in _BINDING.finditer(text))


def only_binding(text: str) -> Binding | None:
    """The binding that the text consists of; None where there is anything else in it."""
    match = _BINDING.fullmatch(text.strip())
    return Binding(match.group(1).strip()) if match else None


def reference_of(binding: Binding, *, unprefixed: str = OWN) -> Reference | None:
    """What the binding refers to, or None where it has none of the allowed forms.

    `unprefixed` is the scope of `inputs.x` and `outputs.x`: `own` in a command or in arguments, `parent` (an
    older form) in a step's own inputs and outputs.
    """
    match = _FORMS.fullmatch(binding.body)
    if match is None:
        return None
    if match["server"]:
        return Reference(scope=SERVER, name=match["server"])
    step = match["step"]
    scope = PARENT if match["parent"] or step else unprefixed
    return Reference(scope=scope, kind=match["kind"], name=match["name"], step=step)


def substitute(text: str, lookup: Callable[[Binding], str]) -> str:
    """The text with each binding replaced by what `lookup` says; what it says is not searched again."""
    return "".join(part if isinstance(part, str) else lookup(part) for part in parse(text))


def fill_segments(text: str, has_value: Callable[[Binding], bool]) -> str:
    """The text with each `$[[...]]` replaced by its content, or by nothing where a binding in it has no
    value.

    Raises BindingError where one is not closed.
    """

    def fill(match: re.Match[str]) -> str:
        content = match.group(1)
        return content if all(has_value(binding) for binding in bindings_in(content)) else ""

    rest = _SEGMENT.sub("", text)
    if "$[[" in rest:
        start = rest.index("$[[")
        raise BindingError(
            f"'{rest[start : start + 40]}' is not closed: an optional segment is '$[[', a text, ']]'."
        )
    return _SEGMENT.sub(fill, text)
