"""Where paths in a spec point."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.jobspec.locations import LocationError, is_url, resolve_location

STORES = {"here": "/stores/here", "bucket": "s3://bucket/base/"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("./x", "/spec/x"),
        ("../x/", "/x"),
        ("x y", "/spec/x y"),
        ("/abs/x", "/abs/x"),
        ("azureml:./x", "/spec/x"),
        ("azureml:/abs/x", "/abs/x"),
        ("file:///abs/a%20b", "/abs/a b"),
        ("file:./x", "/spec/x"),
        ("s3://b/k", "s3://b/k"),
        ("https://host/x?y=1", "https://host/x?y=1"),
        ("azureml://datastores/here/paths/a/b", "/stores/here/a/b"),
        ("azureml://datastores/here/paths/", "/stores/here"),
        ("azureml://datastores/here", "/stores/here"),
        ("azureml://datastores/bucket/paths/a/b", "s3://bucket/base/a/b"),
        ("azureml://subscriptions/1/resourcegroups/2/workspaces/3/datastores/here/paths/a", "/stores/here/a"),
    ],
)
def test_places(text: str, place: str) -> None:
    assert resolve_location(text, Path("/spec"), STORES) == place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("azureml:iris:1", "an asset of an Azure ML workspace"),
        ("azureml:iris@latest", "an asset of an Azure ML workspace"),
        ("azureml://registries/r/data/d/versions/1", "only Azure ML can look up"),
        ("azureml://datastores/her/paths/a", "the datastore 'her' is not known"),
    ],
)
def test_what_is_no_place(text: str, says: str) -> None:
    with pytest.raises(LocationError, match=says):
        resolve_location(text, Path("/spec"), STORES)


def test_urls() -> None:
    assert is_url("abfss://a@b/c") and not is_url("/a://b") and not is_url("c:/x")
