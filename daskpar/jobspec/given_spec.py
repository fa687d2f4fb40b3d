"""A job that was given from Python: as a mapping, as YAML text, or as an object of Azure ML's SDK.

It has no file: mistakes are shown by their path in it, and it is kept in the run directory for a resume.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

import yaml

from daskpar.jobspec.kept_secrets import without_secrets
from daskpar.jobspec.plain_values import values_of_mapping
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.yaml_source import Value, parse_yaml
from daskpar.value_classes import frozen

_HEAD = """\
# The job of this run, which was given from Python, as it was when the run started: `resume` reads it.
# Relative paths in it start from {folder}
"""


@frozen(kw_only=True)
class GivenSpec:
    """A job without a file. One of `mapping` and `text` is there."""

    label: str
    """What messages call it in the place of a file's name: `PipelineJob demo`, `YAML text`."""
    folder: Path
    """Absolute folder that relative paths in it start from."""
    mapping: Mapping[object, object] | None = None
    text: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What belongs to it and is written into the run directory beside it: path there -> content."""

    def document(self, problems: Problems) -> Value | None:
        """What it says, or None after recording why it can't be read."""
        top = Place(file=self.label, line=None, folder=self.folder)
        if self.text is not None:
            return parse_yaml(self.text, top, problems)
        assert self.mapping is not None
        return values_of_mapping(self.mapping, top, problems)

    def kept(self, pipeline: Value) -> KeptSpec:
        """It as the file that is kept; `pipeline` is what it says, as a pipeline."""
        left_out: list[str] = []
        plain = without_secrets(pipeline.plain(), left_out)
        head = _HEAD.format(folder=os.fspath(self.folder).encode("unicode_escape").decode())
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
        return KeptSpec(text=head + text, left_out=tuple(left_out))


@frozen(kw_only=True)
class KeptSpec:
    """A given job as it is kept in the run directory."""

    text: str
    left_out: tuple[str, ...]
    """Keys for `--set` of values that look like secrets: a resume asks for them."""
