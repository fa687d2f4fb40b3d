"""Delta tables: versions, partition columns, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import fsspec
import pandas as pd
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.errors import InputError

MakeTable = Callable[..., Path]


def delta_table(folder: Path, frame: pd.DataFrame, *steps: str, **options: Any) -> Path:
    deltalake.write_deltalake(str(folder / "dt"), frame, **options)
    (folder / "MLTable").write_text(
        "\n".join(["paths:", "- folder: dt", "transformations:", *(steps or ("- read_delta_lake",))])
    )
    return folder


def test_odd_values_of_partition_columns_of_a_delta_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"v": [1, 2, 3], "a b": ["ä/1", "x y", "50%"]})
    got = read_mltable(delta_table(tmp_path, frame, partition_by=["a b"])).compute()
    assert dict(zip(got["a b"], got["v"], strict=True)) == {"ä/1": 1, "x y": 2, "50%": 3}


def test_a_delta_table_without_files(tmp_path: Path) -> None:
    folder = delta_table(tmp_path, pd.DataFrame({"v": [1, 2]}))
    deltalake.DeltaTable(str(tmp_path / "dt")).delete()
    assert read_mltable(folder).compute().shape == (0, 0)


@pytest.mark.parametrize(
    "steps", [["- take: 0"], ["- extract_columns_from_partition_format: {partition_format: '/{a}'}"]]
)
def test_steps_before_a_delta_table_is_read_are_refused(steps: list[str], tmp_path: Path) -> None:
    folder = delta_table(tmp_path, pd.DataFrame({"v": [1, 2]}), *steps, "- read_delta_lake")
    with pytest.raises(InputError, match=r"MLTable:4: .*read_delta_lake.* must be the first step"):
        read_mltable(folder)


@pytest.mark.parametrize(
    ("version", "why"), [(2**70, "can't be read as a delta table"), (7, "can't be read as a delta table")]
)
def test_versions_that_a_delta_table_has_not(version: int, why: str, tmp_path: Path) -> None:
    folder = delta_table(
        tmp_path, pd.DataFrame({"v": [1, 2]}), f"- read_delta_lake: {{version_as_of: {version}}}"
    )
    with pytest.raises(InputError, match=f"MLTable:4: .*{why}"):
        read_mltable(folder)


def test_delta_tables_with_renamed_columns_are_refused(tmp_path: Path) -> None:
    folder = delta_table(tmp_path, pd.DataFrame({"v": [1, 2]}))
    log = tmp_path / "dt" / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "metaData" in line:
            line["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
            schema = json.loads(line["metaData"]["schemaString"])
            schema["fields"][0]["metadata"] = {
                "delta.columnMapping.id": 1,
                "delta.columnMapping.physicalName": "c1",
            }
            line["metaData"]["schemaString"] = json.dumps(schema)
        if "protocol" in line:
            line["protocol"] |= {"minReaderVersion": 2, "minWriterVersion": 5}
    log.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(InputError, match=r"MLTable:4: .* with renamed columns, which daskpar does not read"):
        read_mltable(folder)


def test_delta_tables_on_other_filesystems_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text("paths:\n- folder: memory://dt\ntransformations:\n- read_delta_lake\n")
    fsspec.filesystem("memory").pipe_file("/dt/x", b"x")
    with pytest.raises(InputError, match="memory://dt can't be read as a delta table"):
        read_mltable(tmp_path)


def test_partition_columns_of_a_delta_table(tmp_path: Path) -> None:
    for number in range(2):
        frame = pd.DataFrame({"store": [number, number], "v": [10 * number, 10 * number + 1]})
        deltalake.write_deltalake(str(tmp_path / "dt"), frame, partition_by=["store"], mode="append")
    (tmp_path / "MLTable").write_text("paths:\n- folder: dt\ntransformations:\n- read_delta_lake\n")
    got = read_mltable(tmp_path).compute()
    assert sorted(zip(got["store"], got["v"], strict=True)) == [(0, 0), (0, 1), (1, 10), (1, 11)]
