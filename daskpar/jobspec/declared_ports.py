"""The inputs and outputs that a step declares: what its node gives, over what its component declares."""

from __future__ import annotations

from collections.abc import Mapping

from daskpar.errors import nearest
from daskpar.jobspec import scalars
from daskpar.jobspec.bindings import OWN, PARENT, bindings_in, reference_of
from daskpar.jobspec.ports import InputPort, OutputPort, flatten_groups, input_port, output_port
from daskpar.jobspec.problems import COMMAND_LINE, Place, Problems
from daskpar.jobspec.yaml_source import Value, texts


def step_inputs(
    node: Value, component: Value | None, problems: Problems, missing: dict[str, Place] | None = None
) -> dict[str, InputPort]:
    """The inputs of a step. `missing`: of a nested pipeline, which is asked later whether it needs those that
    are not given; they are put there instead of being recorded.
    """
    at_node = flatten_groups(node.get("inputs"), problems)
    if component is None:
        return {
            name: input_port(name, value, value if value.is_mapping else None, problems)
            for name, value in at_node.items()
        }
    in_component = flatten_groups(component.get("inputs"), problems)
    at_node = _named_as(in_component, at_node)
    # Azure's dump of a function leaves out the inputs of which it does not know the type.
    used = {name for text in texts(component) for name in parent_inputs(text)} if missing is not None else ()
    for name, extra in at_node.items():
        if name not in in_component and name not in used:
            record = problems.error if extra.place.origin == COMMAND_LINE else problems.warn
            record(extra.place, f"the component has no input {name!r}.", nearest(name, in_component))
    missing_at = node.place.below("inputs")
    ports: dict[str, InputPort] = {}
    for name in [*in_component, *(name for name in at_node if name not in in_component)]:
        value, declared = at_node.get(name), in_component.get(name)
        if (
            value is None
            and declared is not None
            and declared.get("default") is None
            and not _is_optional(declared, problems)
        ):
            if missing is None:
                problems.error(missing_at, not_given(name))
            else:
                missing[name] = missing_at
            ports[name] = InputPort(name=name, place=missing_at, optional=missing is not None)
            continue
        ports[name] = input_port(name, value, declared, problems)
    return ports


def step_outputs(node: Value, component: Value | None, problems: Problems) -> dict[str, OutputPort]:
    """The outputs of a step; what its component does not have is warned of."""
    at_node = flatten_groups(node.get("outputs"), problems)
    in_component = flatten_groups(component.get("outputs"), problems) if component else {}
    if component:
        at_node = _named_as(in_component, at_node)
        for name, value in at_node.items():
            if name not in in_component:
                problems.warn(
                    value.place, f"the component has no output {name!r}.", nearest(name, in_component)
                )
    return {
        name: output_port(name, at_node.get(name), in_component.get(name), problems)
        for name in {**in_component, **at_node}
    }


def _named_as(in_component: Mapping[str, Value], at_node: Mapping[str, Value]) -> dict[str, Value]:
    """What a node gives, under the component's own spelling of the names: Azure takes any case."""
    spelt = {name.lower(): name for name in in_component}
    return {
        name if name in in_component else spelt.get(name.lower(), name): value
        for name, value in at_node.items()
    }


def _is_optional(declared: Value, problems: Problems) -> bool:
    word = declared.get("optional")
    return bool(word and scalars.switch(word, problems))


def not_given(name: str) -> str:
    """What is wrong where a component's input has neither a value nor a default."""
    return f"the component's input {name!r} is not given and has no default."


def parent_inputs(text: str, *, unprefixed: str = OWN) -> set[str]:
    """The inputs of its pipeline that a text of a step names."""
    found = (reference_of(binding, unprefixed=unprefixed) for binding in bindings_in(text))
    return {
        each.name
        for each in found
        if each and each.scope == PARENT and each.kind == "inputs" and not each.step
    }
