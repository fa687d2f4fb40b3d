"""Checks a spec by the JSON schema that `daskpar schema` prints."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from daskpar.jobspec.json_schema import spec_schema


class TextDates(yaml.SafeLoader):
    """YAML in which dates are texts, as daskpar reads it."""


TextDates.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(spec_schema())


def schema_mistakes(tree: Any) -> list[str]:
    """Where a spec does not fit the schema."""
    return [f"{error.json_path}: {error.message[:300]}" for error in validator().iter_errors(named(tree))]


def named(tree: Any) -> Any:
    """The tree with texts as keys: JSON has no others."""
    if isinstance(tree, dict):
        return {str(key): named(value) for key, value in tree.items()}
    return [named(value) for value in tree] if isinstance(tree, list) else tree
