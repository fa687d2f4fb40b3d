"""What paths in a spec mean for one run: locations in its run directory, in datastores and elsewhere."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from daskpar.errors import LocationError
from daskpar.jobspec.asset_names import advice, find_asset, names_of
from daskpar.jobspec.env_references import REFERENCE
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.steps_apart import StepsApart
from daskpar.jobspec.yaml_source import Value, near_file, shown_path
from daskpar.locations import UNNAMED, datastore_of, is_url, join, resolve
from daskpar.paths import RunPaths
from daskpar.value_classes import frozen

DEFAULT_DATASTORES = ("workspaceblobstore", "default")
"""Names of the default datastore, which lies in the run directory."""


@frozen(kw_only=True)
class RunLocations:
    """Where one run keeps what it makes, and what the names of datastores stand for."""

    run_directory: Path
    """Absolute; need not exist yet."""
    datastores: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder or URL."""
    any_datastore: bool = False
    """True where the configuration is not looked at: every name is taken for that of a datastore."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """Name of registered data or of a model -> folder, file or URL."""
    mounts: bool = True
    """Whether an input can be made read-only for scripts in its own place."""
    apart: StepsApart | None = None
    """Steps that write elsewhere than the spec says."""


class SpecLocations:
    """Finds the location that a text in a spec means; why a text means none goes to `problems`."""

    def __init__(
        self, run: RunLocations, default_datastore: str, problems: Problems, *, chosen: bool = False
    ) -> None:
        """`chosen`: whether the job itself names its default datastore."""
        self._run = run
        self._default_name = default_datastore if chosen else UNNAMED
        self._paths = RunPaths(run.run_directory)
        self._problems = problems
        default = str(self._paths.datastores / "default")
        in_the_run = dict.fromkeys((*DEFAULT_DATASTORES, default_datastore), default)
        # Not copied: a mapping that reads Dask's configuration does so only when it is asked for a name.
        self._datastores: Mapping[str, str] = ChainMap(run.datastores, in_the_run)  # type: ignore[arg-type]

    @property
    def run_name(self) -> str:
        """The name of the run directory, which `${{name}}` stands for."""
        return self._run.run_directory.name

    def location_of(self, value: Value) -> str | None:
        """The absolute path or URL that a text means, None after recording why it means none."""
        text = str(value.data).strip()
        if REFERENCE.search(text):
            self._problems.error(
                value.place,
                "${env:NAME} is not filled in in a path.",
                "It may stand in literal inputs, environment_variables, program_arguments and commands.",
            )
            return None
        if (place := find_asset(text, self._run.assets)) is not None:
            return place
        try:
            return resolve(text, value.place.folder, self._datastores_for(text))
        except LocationError as error:
            hint = f"{error.hint} {advice(text, '--asset')}" if names_of(text) else error.hint
            self._problems.error(value.place, error.what, hint)
            return None

    @property
    def mounts(self) -> bool:
        """Whether an input can be made read-only for scripts in its own place."""
        return self._run.mounts

    @property
    def apart(self) -> StepsApart | None:
        """Steps that write elsewhere than the spec says."""
        return self._run.apart

    def input_copies(self, step: str) -> Path:
        """Where the inputs of a step are laid out that its scripts see elsewhere."""
        apart = self._run.apart
        paths = apart.paths if apart is not None and step in apart.names else self._paths
        return paths.step(step).input_copies

    def uploads(self, step: str) -> Path:
        """Where the scripts of a step write its outputs at URLs before these are uploaded."""
        return self._paths.step(step).uploads

    def default_output(self, step: str | None, output: str) -> str:
        """Where the output of a step (None: of the pipeline) goes that names no place: below the default
        datastore, where one is configured, and else in the run directory.
        """
        for name in (self._default_name, UNNAMED):
            if name in self._run.datastores:
                own = "/".join(filter(None, ("azureml", self.run_name, step, output)))
                return join(self._run.datastores[name], own)
        return str((self._paths.step(step) if step else self._paths).outputs / output)

    def in_run(self, path: str) -> bool:
        """Whether a path lies in the run directory."""
        return path.startswith(f"{self._run.run_directory}{os.sep}")

    def shown_path(self, path: str) -> str:
        """The path as messages show it: what lies in the run directory, from there on."""
        if not self.in_run(path):
            return path
        return f"{path.removeprefix(f'{self._run.run_directory}{os.sep}')} in the run directory"

    def can_be_checked(self, text: str) -> bool:
        """Whether what `text` means can be looked for: not in a datastore whose place is not known."""
        return not (self._run.any_datastore and datastore_of(text.strip()))

    def check_exists(self, path: str, kind: str, value: Value) -> None:
        """Record a mistake where the local data of type `kind` that `value` names is not at `path`."""
        if is_url(path):
            return
        here, place = Path(path), value.place
        if not os.path.exists(here):
            hint = near_file(here)
            store = datastore_of(str(value.data).strip())
            if store and store not in self._run.datastores:
                hint = (
                    f"The datastore {store!r} begins empty in each run; "
                    f"name the folder that it is: --datastore {store}=FOLDER."
                )
            self._problems.error(place, f"{shown_path(here)} does not exist.", hint)
        elif wrong := _wrong_kind(here, kind):
            self._problems.error(place, *wrong)

    def check_table(self, path: str, value: Value) -> None:
        """Record a mistake where no MLTable lies in the local folder `path`, which is there."""
        here = Path(path)
        if is_url(path) or not os.path.exists(here):
            return
        name = shown_path(here)
        if not os.path.isdir(here):
            what = f"{name} is a file; an mltable is the folder that holds a file named MLTable."
            self._problems.error(value.place, what)
        elif not os.path.isfile(here / "MLTable"):
            self._problems.error(
                value.place, f"{name} holds no file named MLTable.", near_file(here / "MLTable")
            )

    def _datastores_for(self, text: str) -> Mapping[str, str]:
        store = datastore_of(text) if self._run.any_datastore else ""
        if not store:
            return self._datastores
        place = str(self._paths.datastores / store)
        return ChainMap(self._datastores, {store: place})  # type: ignore[arg-type]


def _wrong_kind(here: Path, kind: str) -> tuple[str, str] | None:
    """What speaks against data of type `kind` at an existing path, and a hint; None where nothing does."""
    name = shown_path(here)
    if kind == "uri_folder" and not os.path.isdir(here):
        return f"{name} is a file, and the input is a folder.", "Write type: uri_file."
    if kind == "uri_file" and os.path.isdir(here):
        return f"{name} is a folder, and the input is a file.", "Write type: uri_folder."
    return None
