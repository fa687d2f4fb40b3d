"""Names and texts of users as places, whose stores are known from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from daskpar import datastores, masking
from daskpar.datastores import known_options, options_of, own_options, remember
from daskpar.errors import LocationError
from daskpar.named_places import know_configured, looked_up


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Datastores of Dask's configuration."""
    monkeypatch.setattr(datastores, "_known", {})
    monkeypatch.setattr(masking, "_known", set())
    stores = {
        "lake": {"url": "s3://lake/base", "storage_options": {"key": "configured"}},
        "open": "s3://open",
        "here": "/stores/here",
    }
    monkeypatch.setitem(dask.config.config, "daskpar", {"datastores": stores})
    yield stores


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("azureml://datastores/lake/paths/x", "s3://lake/base/x"),
        ("azureml://datastores/lake/paths/x/", "s3://lake/base/x/"),
        ("azureml://datastores/here/paths/x/*.png", "/stores/here/x/*.png"),
        ("S3://lake/base/x/", "s3://lake/base/x/"),
        ("wasbs://c@a/x", "abfs://c@a/x"),
        ("/local/x/", "/local/x/"),
        ("x", str(Path.cwd() / "x")),
    ],
)
def test_what_a_text_means(text: str, place: str) -> None:
    assert looked_up(text) == place
    assert options_of("s3://lake/base/x") == {"key": "configured"}


def test_those_of_the_call_count_more() -> None:
    own = {"url": "s3://lake/base", "storage_options": {"key": "own"}}
    assert looked_up("azureml://datastores/mine/paths/x", {"mine": own, "lake": own}) == "s3://lake/base/x"
    assert options_of("s3://lake/base/x") == {"key": "own"}
    with pytest.raises(LocationError, match="Did you mean 'lake'"):
        looked_up("azureml://datastores/lak/paths/x")


def test_what_a_run_has_told_this_process_counts_more_than_the_configuration() -> None:
    remember("s3://lake/base", {"key": "of a run"})
    remember("s3://open", {"key": "of a run"})
    know_configured()
    assert options_of("s3://lake/base/x") == options_of("s3://open/x") == {"key": "of a run"}


def test_a_run_is_told_nothing() -> None:
    """It was given a datastore without options, where the configuration has some."""
    with own_options():
        know_configured()
        assert not known_options()
    know_configured()
    assert known_options() == {"s3://lake/base": {"key": "configured"}}
