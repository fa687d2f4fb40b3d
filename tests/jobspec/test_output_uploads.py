"""Which outputs are filled locally and uploaded, and where outputs without a path lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.jobspec.model import Output
from daskpar.jobspec.output_uploads import with_uploads, without_unused
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.spec_locations import RunLocations, SpecLocations
from daskpar.locations import UNNAMED

UPLOADS = Path("/RUN/steps/s/uploads")


def output(path: str, kind: str = "uri_folder", mode: str = "rw_mount") -> Output:
    return Output(name="o", type=kind, mode=mode, path=path, chosen_by_user=True)


@pytest.mark.parametrize(
    ("made", "rows", "seen"),
    [
        (output("/local"), None, ""),
        (output("s3://b/o"), None, f"{UPLOADS}/filled/o"),
        (output("s3://b/o", mode="upload"), None, f"{UPLOADS}/filled/o"),
        (output("s3://b/o", mode="direct"), None, ""),
        (output("gs://b/x/rows.csv", "uri_file"), None, f"{UPLOADS}/filled/o/rows.csv"),
        (output("abfs://c/table", "mltable"), None, f"{UPLOADS}/filled/o"),
        (output("abfs://c/model", "mlflow_model"), None, f"{UPLOADS}/filled/o"),
        (output("s3://b/rows.csv", "uri_file"), "s3://b/rows.csv", ""),  # it is written by us
        (output("s3://b/o"), "s3://b/o/rows.txt", f"{UPLOADS}/filled/o"),  # others may lie beside it
    ],
)
def test_where_scripts_write(made: Output, rows: str | None, seen: str) -> None:
    assert with_uploads({"o": made}, UPLOADS, rows)["o"].seen == seen


@pytest.mark.parametrize(
    ("rows", "texts", "seen"),
    [
        (None, (), True),
        ("s3://b/o/rows.txt", (), False),
        ("s3://b/o", ("--out", f"{UPLOADS}/filled/o/sub"), True),
        ("s3://b/other", (), True),
    ],
)
def test_what_holds_rows_is_filled_by_scripts_that_are_told_of_it(
    rows: str | None, texts: tuple[str, ...], seen: bool
) -> None:
    outputs = with_uploads({"o": output("s3://b/o")}, UPLOADS, rows)
    assert bool(without_unused(outputs, rows, texts)["o"].seen) == seen


@pytest.mark.parametrize(
    ("named", "chosen", "datastores", "place"),
    [
        ("workspaceblobstore", False, {}, "/runs/r1/steps/s/outputs/o"),
        ("lake", True, {}, "/runs/r1/steps/s/outputs/o"),
        ("lake", True, {"lake": "s3://b/x"}, "s3://b/x/azureml/r1/s/o"),
        ("lake", True, {"lake": "/mnt/x"}, "/mnt/x/azureml/r1/s/o"),
        ("workspaceblobstore", False, {"workspaceblobstore": "s3://b"}, "/runs/r1/steps/s/outputs/o"),
        ("workspaceblobstore", False, {UNNAMED: "s3://b"}, "s3://b/azureml/r1/s/o"),
        ("lake", True, {"lake": "s3://b/x", UNNAMED: "s3://other"}, "s3://b/x/azureml/r1/s/o"),
    ],
)
def test_outputs_without_a_path(named: str, chosen: bool, datastores: dict[str, str], place: str) -> None:
    run = RunLocations(run_directory=Path("/runs/r1"), datastores=datastores)
    locations = SpecLocations(run, named, Problems(), chosen=chosen)
    assert locations.default_output("s", "o") == place
