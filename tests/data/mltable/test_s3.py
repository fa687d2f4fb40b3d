"""MLTables on a real S3 server: the same tables as from the disk, and what stands in the way is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from daskpar import datastores
from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.data.mltable.path_items import files_of_item
from daskpar.errors import InputError
from s3_bucket import s3_bucket

CASES = Path(__file__).parent / "mltable_cases"
CHOSEN = sorted(
    folder.name
    for folder in CASES.iterdir()
    if not any(word in folder.name for word in ("delta", "path", "stream", "pattern", "error"))
    and '"outcome": "table"' in (folder / "expected.json").read_text()
    and "template" not in (folder / "expected.json").read_text()
)[::12]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket with the chosen cases, on a server of this process."""
    with pytest.MonkeyPatch.context() as patch, s3_bucket(patch) as found:
        for name in CHOSEN:
            for path in (CASES / name).rglob("*"):
                if path.is_file():
                    found.put(str(path.relative_to(CASES)), path.read_bytes())
        yield "s3://box"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CHOSEN)
def test_the_same_table_as_from_the_disk(bucket: str, name: str) -> None:
    found: Any = read_mltable(f"{bucket}/{name}").compute()
    if "Path" in found:
        found["Path"] = found["Path"].str.replace(bucket, str(CASES))
    pd.testing.assert_frame_equal(found, read_mltable(CASES / name).compute())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("place", ["nothing-here", "001-infer-kinds-not"])
def test_what_is_not_there(bucket: str, place: str) -> None:
    with pytest.raises(InputError, match="holds no file named MLTable"):
        open_mltable(f"{bucket}/{place}")


def test_a_refused_connection_is_not_a_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(InputError, match="can't be read: EndpointConnectionError"):
        open_mltable("s3://box/other")
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_patterns_are_looked_for_with_the_options_of_their_datastore(
    bucket: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which begins below the bucket; what is found has the URL that was written."""
    with fsspec.open(f"{bucket}/lake/base/a b#.csv", "wb") as file:
        file.write(b"a\n1\n")
    options = {"key": "x", "secret": "x", "endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("daskpar.datastores._known", {})
    datastores.remember("s3://box/lake", options)
    url = f"{scheme}://box/lake/base"
    for pattern in (f"{url}/*.csv", f"{url}/a?b#.csv", f"{scheme}://box/lake/**/*.csv"):
        assert files_of_item("pattern", pattern) == [f"{url}/a b#.csv"]
