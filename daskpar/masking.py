"""What looks like a secret is neither written down nor shown: its name says so, or the text round it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

MASK = "***"
_WORDS = (
    "key|secret|token|password|passwd|passphrase|pwd|credentials?|sas|signature|authorization"
    "|api_?key|access_?key|account_?key|connection_?string"
)
_NAME = re.compile(rf"(?:^|[^A-Za-z])(?:{_WORDS})\d*(?:$|[^A-Za-z])", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_REFERENCE = re.compile(r"\$\{env:\w+\}|\$\{?\w+\}?")
"""A value that only says where the secret is."""

_IN_URL = re.compile(r"(?<=://)([^/\s:@'\"]*:)[^/\s@'\"]+(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;])((?:amp;)?[\w.-]+=)([^&;\s'\"]+)")
_CONNECTION = re.compile(
    r"\b((?:AccountKey|SharedAccessKey|SharedAccessSignature|Password|Pwd)\s*=\s*)([^;\s'\"]+)", re.IGNORECASE
)
_ASSIGNED = re.compile(r"(?<![\w.?&;-])((?:-{1,2})?[A-Za-z_][\w.-]*=)(\"[^\"]*\"|'[^']*'|[^\s'\";&|]+)")
_OPTION = re.compile(r"(?<!\S)(--?[A-Za-z_][\w.-]*)(\s+)(\"[^\"]*\"|'[^']*'|[^\s'\"-][^\s'\";&|]*)")
_HEADER = re.compile(
    r"((?:\w+-)*(?:authorization|key|token)\s*:\s*(?:(?:bearer|basic)\s+)?)([^\s'\"]+)", re.I
)

Hide = Callable[[str], str]
_known: set[str] = set()
_shown: set[str] = set()
_SHORTEST = 6
"""A shorter value would be found in texts that have nothing to do with it."""


def remember(values: Iterable[str]) -> None:
    """Secrets of this process's runs: `hidden` finds them wherever they are."""
    _known.update(value for value in values if len(value) >= _SHORTEST)


def allow(value: str) -> None:
    """Show this value all the same: the token in the address of our own dashboard."""
    _shown.add(value)


def is_secret(name: str) -> bool:
    """Whether what has this name looks like a secret: `API_KEY`, `dbPassword`, `sas`, `connection_string`."""
    name = _CAMEL.sub("_", name)
    return name.lower() == "sig" or _NAME.search(name) is not None


def may_hold_secrets(text: str) -> bool:
    """Whether `hidden` has anything to look for in a text, or in any part of it."""
    return "://" in text or "=" in text or any(value in text for value in _known)


def hidden(text: str, hide: Hide = lambda _: MASK) -> str:
    """Any text that is written or shown: without secrets in URLs and connection strings, and known ones."""
    if _known:
        for value in sorted(_known, key=len, reverse=True):
            if value in text:
                text = text.replace(value, hide(value))
    if "://" in text:
        text = _IN_URL.sub(lambda found: found[1] + hide(found[0]), text)
    if "=" in text:
        text = _PARAMETER.sub(lambda found: _if_secret(found, hide), text)
        text = _CONNECTION.sub(lambda found: found[1] + _once(found[2], hide), text)
    return text


def hidden_value(name: str, value: str, hide: Hide = lambda _: MASK) -> str:
    """The value of something that has a name: a variable, an input, a setting."""
    return _once(value, hide) if value and is_secret(name) else hidden(value, hide)


def hidden_tree(value: object) -> object:
    """Plain values (mappings, lists) with `hidden` done to each text in them."""
    if isinstance(value, str):
        return hidden(value)
    if isinstance(value, Mapping):
        return {name: hidden_tree(inner) for name, inner in value.items()}
    return [hidden_tree(inner) for inner in value] if isinstance(value, list | tuple) else value


def hidden_arguments(arguments: Sequence[str], hide: Hide = lambda _: MASK) -> list[str]:
    """Program arguments: without what follows `--api-key` or stands in `--token=...`."""
    found: list[str] = []
    before = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and argument.startswith("-") and is_secret(name):
            found.append(f"{name}={_once(value, hide)}")
        elif _takes_secret(before) and not argument.startswith("--"):
            found.append(_once(argument, hide))
        else:
            found.append(hidden(argument, hide))
        before = argument
    return found


def _takes_secret(argument: str) -> bool:
    return argument.startswith("-") and "=" not in argument and is_secret(argument)


def hidden_command(text: str, hide: Hide = lambda _: MASK) -> str:
    """A shell command: `PASSWORD=... program --token ...`, headers such as `Authorization: Bearer ...`."""
    text = _ASSIGNED.sub(lambda found: _if_secret(found, hide), text)
    text = _OPTION.sub(
        lambda found: found[1] + found[2] + (_once(found[3], hide) if is_secret(found[1]) else found[3]), text
    )
    return hidden(_HEADER.sub(lambda found: found[1] + _once(found[2], hide), text), hide)


def _if_secret(found: re.Match[str], hide: Hide) -> str:
    name = found[1].rstrip("=").removeprefix("amp;")
    return found[1] + (_once(found[2], hide) if is_secret(name) else found[2])


def _once(value: str, hide: Hide) -> str:
    """The value hidden, unless it is already or only says where the secret is."""
    bare = value.strip("'\"")
    known = bare.startswith(MASK) or bare in _shown or _REFERENCE.fullmatch(bare)
    return value if known else hide(value)
