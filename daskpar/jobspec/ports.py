"""Inputs and outputs as declared, by a component and by the node or pipeline that uses it, taken together."""

from __future__ import annotations

import re
from dataclasses import replace

from daskpar.errors import nearest
from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.bindings import only_binding
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.yaml_source import Value
from daskpar.value_classes import frozen

PORT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@frozen(kw_only=True)
class InputPort:
    """One input before its bindings are filled in: at most one of `path` and `value` is set.

    One that has neither and is not optional stands for a mistake that is recorded already.
    """

    name: str
    place: Place
    type: str = ""
    """A data type, a literal type, or empty where nothing says."""
    mode: str = ""
    path: Value | None = None
    """A path, or a binding to data."""
    value: Value | None = None
    """A literal, or a text with bindings."""
    optional: bool = False
    enum: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    @property
    def is_literal(self) -> bool:
        """Whether it is declared to be a literal."""
        return self.type in known_fields.LITERAL_TYPES


@frozen(kw_only=True)
class OutputPort:
    """One output before its bindings are filled in."""

    name: str
    place: Place
    type: str = ""
    mode: str = ""
    path: Value | None = None
    """A path or a binding to an output of the pipeline; None: daskpar chooses."""


def flatten_groups(mapping: Value | None, problems: Problems) -> dict[str, Value]:
    """Inputs or outputs by name; members of a group are named `group.member`."""
    found: dict[str, Value] = {}
    if mapping is None:
        return found
    if not mapping.is_mapping:
        problems.error(mapping.place, f"has to be a mapping of names, not {scalars.quoted(mapping.data)}.")
        return found
    for name, value in mapping.items():
        if not PORT_NAME.fullmatch(name):
            problems.error(
                value.place,
                f"{name!r} is no name: letters, digits and _ (and dots in "
                "groups), not starting with a digit.",
            )
        elif _is_group(value):
            found |= {f"{name}.{member}": inner for member, inner in flatten_groups(value, problems).items()}
        else:
            found[name] = value
    return found


def _is_group(value: Value) -> bool:
    if not isinstance(value.data, dict) or not value.data:
        return False
    return all(key not in known_fields.INPUT and not nearest(key, known_fields.INPUT) for key in value.data)


def input_port(
    name: str, at_node: Value | None, in_component: Value | None, problems: Problems, hint: str = ""
) -> InputPort:
    """The input `name`, from what the pipeline or node says of it and what its component declares.

    `hint` says how else a missing one can be given.
    """
    known = at_node if at_node is not None else in_component
    if known is None:
        raise ValueError(f"the input {name} is neither at the node nor in its component")
    port = _declare(InputPort(name=name, place=known.place), in_component, problems)
    if at_node is None or not at_node.is_set:
        return _with_default(port, in_component, hint, problems)
    if not at_node.is_mapping:
        return _bare(port, at_node, problems)
    scalars.unknown_keys(at_node, known_fields.INPUT, problems, "an input")
    port = _declare(port, at_node, problems)
    path, value = at_node.get("path"), at_node.get("value") or at_node.get("default")
    if path is not None and value is not None:
        problems.error(at_node.place, "has both a path and a value; give one of them.")
    if path is None and value is None:
        return _with_default(port, in_component, hint, problems)
    if path is not None:
        return replace(port, optional=False) if _not_text(path, problems) else replace(port, path=path)
    return replace(port, value=value)


def _bare(port: InputPort, at_node: Value, problems: Problems) -> InputPort:
    """`name: value`: a literal, or a path where the component asks for data."""
    # What a binding means is known when it is filled in.
    if isinstance(at_node.data, list):
        problems.error(at_node.place, "has to be a single value or a mapping, not a list.")
        return replace(port, optional=False)
    if port.type not in known_fields.ALL_DATA:
        return replace(port, value=at_node)
    if _not_text(at_node, problems):
        return replace(port, optional=False)
    return replace(port, value=at_node) if only_binding(str(at_node.data)) else replace(port, path=at_node)


def _with_default(port: InputPort, in_component: Value | None, hint: str, problems: Problems) -> InputPort:
    default = in_component.get("default") if in_component is not None else None
    if default is not None:
        is_path = port.type in known_fields.ALL_DATA and not _not_text(default, problems)
        return replace(
            port, place=default.place, path=default if is_path else None, value=None if is_path else default
        )
    if not port.optional:
        problems.error(port.place, f"the input {port.name!r} has no value and no default.", hint)
    return port


def _declare(port: InputPort, value: Value | None, problems: Problems) -> InputPort:
    """The port with what a declaration says of it; what it leaves out stays."""
    if value is None or not value.is_mapping:
        return port
    kind = _word(value.get("type"), known_fields.INPUT_TYPES, problems)
    mode = _word(value.get("mode"), known_fields.INPUT_MODES, problems)
    mode = {"mount": "ro_mount", "rw_mount": "ro_mount"}.get(mode, mode)
    if mode in known_fields.TABLE_ONLY_MODES and kind and kind != "mltable":
        problems.error(_place(value, "mode"), f"the mode {mode} is for the type mltable, not {kind}.")
    optional, enum = value.get("optional"), value.get("enum")
    if enum is not None and not isinstance(enum.data, list):
        problems.error(enum.place, f"has to be a list of allowed values, not {scalars.quoted(enum.data)}.")
    least, most = _limit(value.get("min"), problems), _limit(value.get("max"), problems)
    return replace(
        port,
        type=kind or port.type,
        mode=mode or port.mode,
        optional=bool(scalars.switch(optional, problems)) if optional else port.optional,
        enum=tuple(str(element.data) for element in enum.elements()) if enum else port.enum,
        least=port.least if least is None else least,
        most=port.most if most is None else most,
    )


def output_port(
    name: str, at_node: Value | None, in_component: Value | None, problems: Problems
) -> OutputPort:
    """The output `name`; its type is the component's where there is one."""
    # Azure's own dump of a job says uri_folder for every bound output.
    known = at_node if at_node is not None else in_component
    if known is None:
        raise ValueError(f"the output {name} is neither at the node nor in its component")
    kind = mode = ""
    path: Value | None = None
    for value in (in_component, at_node):
        if value is None or not value.is_set:
            continue
        if isinstance(value.data, dict):
            scalars.unknown_keys(value, known_fields.OUTPUT, problems, "an output")
            word = _word(value.get("type"), known_fields.INPUT_TYPES, problems)
            # A value is written into a file, and the older type `path` is a folder.
            word = "uri_file" if word in known_fields.LITERAL_TYPES else word
            kind = kind or ("uri_folder" if word == known_fields.ANY_PATH else word)
            mode = _word(value.get("mode"), known_fields.OUTPUT_MODES, problems) or mode
            own = value.get("path")
            path = path if own is None or _not_text(own, problems) else own
        elif isinstance(value.data, str) and only_binding(value.data):
            path = value
        else:
            hint = f"Write {{path: {value.data}}}." if isinstance(value.data, str) else ""
            problems.error(
                value.place, f"an output is a mapping or a binding, not {scalars.quoted(value.data)}.", hint
            )
    return OutputPort(
        name=name, place=known.place, type=kind, mode="rw_mount" if mode == "mount" else mode, path=path
    )


def check_literal(port: InputPort, value: object, place: Place, problems: Problems) -> None:
    """Record where a literal breaks the rules of its port: `enum`, `min`, `max`."""
    if isinstance(value, scalars.StandIn):
        return
    if port.enum and str(value) not in port.enum:
        allowed = ", ".join(port.enum)
        problems.error(
            place,
            f"the input {port.name!r} has to be one of {allowed}, not {scalars.quoted(value)}.",
            nearest(str(value), port.enum),
        )
    number = scalars.as_number(value)
    if number is None:
        return
    if port.least is not None and number < port.least:
        problems.error(
            place, f"the input {port.name!r} has to be {port.least:g} or more, not {scalars.quoted(value)}."
        )
    if port.most is not None and number > port.most:
        problems.error(
            place, f"the input {port.name!r} has to be {port.most:g} or less, not {scalars.quoted(value)}."
        )


def _not_text(value: Value, problems: Problems) -> bool:
    return scalars.text(value, problems, "a path") is None


def _place(value: Value, key: str) -> Place:
    found = value.get(key)
    return found.place if found else value.place


def _limit(value: Value | None, problems: Problems) -> float | None:
    if value is None:
        return None
    number = scalars.as_number(value.data)
    if number is None:
        problems.error(value.place, f"has to be a number, not {scalars.quoted(value.data)}.")
    return number


def _word(value: Value | None, allowed: tuple[str, ...], problems: Problems) -> str:
    """A type or mode, whatever its casing; empty where none is given or it is wrong."""
    if value is None:
        return ""
    word = scalars.port_word(value.data)
    if word in allowed:
        return word
    problems.error(
        value.place,
        f"has to be one of {', '.join(allowed)}, not {scalars.quoted(value.data)}.",
        nearest(word, allowed),
    )
    return ""
