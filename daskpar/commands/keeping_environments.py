"""The command that lists, builds and removes environments: `environments`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from daskpar.commands.output import say, say_json
from daskpar.errors import JobFailed, UsageError


def environments(arguments: argparse.Namespace) -> int:
    """List the environments that were built here, build those of a spec, or remove some."""
    if arguments.remove:
        return _remove(arguments.remove)
    if arguments.build is not None:
        return _build(arguments.build)
    return _list(as_json=arguments.json)


def _list(*, as_json: bool) -> int:
    from daskpar.environments.build_order import environments_folder
    from daskpar.environments.built import built_environments
    from daskpar.environments.configured_containers import configured_containers
    from daskpar.reports.wording import local_time
    from daskpar.sizes import readable_size

    found, containers = built_environments(), list(configured_containers())
    if as_json:
        say_json(
            {
                "folder": environments_folder(),
                "environments": [
                    {
                        "name": each.name,
                        "python": each.python,
                        "tool": each.tool,
                        "built": each.built,
                        "bytes": each.size,
                    }
                    for each in found
                ],
                "containers": [
                    {
                        "name": each.name,
                        "image": each.container.image,
                        "runtime": each.runtime,
                        "id": each.image_id,
                        "trouble": each.trouble,
                    }
                    for each in containers
                ],
            }
        )
    elif not found:
        say(f"no environments in {environments_folder()}", sys.stderr)
    else:
        width = max(len(each.name) for each in found)
        for each in found:
            when, size = local_time(each.built), readable_size(each.size)
            say(f"{each.name:<{width}}  {when}  {size:>9}  by {each.tool:<10}  {each.python}")
    if not as_json:
        for one in containers:
            say(
                f"{one.name}: {one.container.in_words if one.container.image else 'a container'}, {one.state}"
            )
    return 0


def _build(spec: str) -> int:
    from daskpar.engine.own_python import packages_needed
    from daskpar.environments.build_order import order_of
    from daskpar.environments.built import ensure_built
    from daskpar.jobspec.load import load_job

    path = Path(spec)
    if not path.is_file():
        raise UsageError(f"there is no file {spec}")
    job = load_job(path, bare=True)
    orders = {}
    for step in job.steps:
        named = step.environment
        if named is not None and named.trouble:
            raise UsageError(f"{named.in_words} ({named.where}): {named.trouble}")
        if named is not None and named.conda:
            order = order_of(named, also=packages_needed(step))
            orders[order.prefix] = order
    if not orders:
        raise UsageError(f"no step of {spec} has an environment with a conda file")
    failed = 0
    for order in orders.values():
        if order.is_built():
            say(f"{order.name}: it is there, {order.python}")
            continue
        say(f"{order.name}: building it in {order.prefix} ...", sys.stderr)
        try:
            ensure_built(order, progress=_ShownOnce())
        except JobFailed as error:
            failed += 1
            say(str(error), sys.stderr)
        else:
            say(f"{order.name}: built, {order.python}")
    return JobFailed.exit_code if failed else 0


class _ShownOnce:
    """Shows what a tool says, each line once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        if text and text != self._last:
            self._last = text
            say(f"  {text}", sys.stderr)


def _remove(names: list[str]) -> int:
    from daskpar.environments.built import remove

    for name in remove(names):
        say(f"removed {name}")
    return 0
