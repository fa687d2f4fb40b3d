"""Lists the row formats and part stores that there are, and chooses those of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daskpar.errors import RunDirectoryError
from daskpar.paths import StepPaths
from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat
from daskpar.rows.part_store import PartStore
from daskpar.rows.row_format import RowFormat, Schema
from daskpar.rows.shared_folder import SharedFolder
from daskpar.rows.text_format import NO_COLUMNS, TextFormat

if TYPE_CHECKING:
    from daskpar.jobspec.model import ParallelStep

FORMATS: dict[str, type[RowFormat]] = {
    form.name: form for form in (TextFormat, CsvFormat, JsonLinesFormat, ParquetFormat)
}
"""Row formats by name."""


def format_of(step: ParallelStep) -> RowFormat:
    """The format of the rows that a step appends (`append_row_to`, `--append_row_format`)."""
    return FORMATS[step.settings.append_row_format].for_step(step)


def format_from_json(value: Mapping[str, Any] | None, schema: Schema | None) -> RowFormat:
    """The format that a journal names; `value` is None where its head is damaged or it names no format, as in
    earlier versions: text.

    Raises RunDirectoryError for a format that is not known.
    """
    if value is None:
        return TextFormat(header=schema is not None and schema[:1] != NO_COLUMNS)
    options = dict(value)
    name = options.pop("name")
    if "item_columns" in options:
        options["item_columns"] = tuple(options["item_columns"])
    if name not in FORMATS:
        raise RunDirectoryError(
            f"The rows are in the format {name!r}, which this daskpar does not know: they were written by a "
            "newer version. Update daskpar to use them."
        )
    return FORMATS[name](**options)


def store_of(step: StepPaths) -> PartStore:
    """The store of a step's rows: so far always the folder for parts in the step's folder."""
    return SharedFolder(step.parts)
