"""Which nodes have other packages than the driver: pure, from the facts of the nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from daskpar.engine.rules.allocation import NodeFacts

SHOWN = 3
"""How many addresses a sentence names."""


def differences(nodes: Iterable[NodeFacts], own: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """(package, version on nodes) -> one sentence that names these nodes, where it is not the driver's
    version.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for facts in nodes:
        for package, version in facts.packages.items():
            if package in own and own[package] != version:
                found.setdefault((package, version), []).append(facts.address)
    return {key: _sentence(*key, own[key[0]], addresses) for key, addresses in found.items()}


def _sentence(package: str, there: str, here: str, addresses: list[str]) -> str:
    more = f" and {len(addresses) - SHOWN} more" if len(addresses) > SHOWN else ""
    who = f"worker{'s' if len(addresses) > 1 else ''} {', '.join(addresses[:SHOWN])}{more}"
    return (
        f"{who}: {package} {there} there, {here} here; values and files may come out differently: "
        "install the same version everywhere"
    )
