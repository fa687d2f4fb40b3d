"""Opens an MLTable folder: lists its files and follows its transformations to a table or a file list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from daskpar.data.files import FileList, ListingNotes
from daskpar.data.mltable.after_reader import transform_table, with_step
from daskpar.data.mltable.before_reader import ListedFiles, path_column
from daskpar.data.mltable.document import Document, Transformation, read_document
from daskpar.data.mltable.option_checks import TransformationError
from daskpar.data.mltable.path_items import files_of_item
from daskpar.data.mltable.table_inference import INFER_TABLE
from daskpar.data.mltable.table_sample import has_rows, sample_table
from daskpar.data.path_column import may_hold_urls
from daskpar.data.stamps import Stamp, look_at_each, planned_stamp
from daskpar.data.tables.table import Table
from daskpar.datastores import carried
from daskpar.errors import DaskparError, InputError
from daskpar.locations import resolve


def open_mltable(
    folder: str, datastores: Mapping[str, str] | None = None, *, files: bool = False
) -> Table | FileList:
    """The table that the MLTable in a folder describes, or its list of files where it has no reader.

    With `files` the list of files is wanted in any case. Reads the MLTable, lists its files, and reads no
    more of them than metadata and the inference sample, and what `take` and `skip` need. `datastores` maps
    names in `azureml://datastores/NAME/paths/…` to folders or URLs. InputError names the MLTable's line, and
    the file and byte or row where it can.
    """
    return _Opener(read_document(folder), datastores or {}).run(files)


def open_mltables(folders: Sequence[str], datastores: Mapping[str, str] | None = None) -> Table | FileList:
    """The tables of several MLTables as one, one after the other; a mini-batch is of one file, and so of one.

    InputError also where they don't do the same with their files.
    """
    places = datastores or {}
    documents = [read_document(folder) for folder in folders]
    first = documents[0]
    for other in documents[1:]:
        ours, theirs = (
            [(each.name, each.options) for each in document.transformations] for document in (first, other)
        )
        if ours != theirs:
            raise InputError(
                f"{other.file}: its transformations are others than those of {first.file}, so both are no "
                "single table: split them in a step each, or write one MLTable that lists the files of both"
            )
    items = []
    for document in documents:
        for item in document.items:
            try:
                place = resolve(item.text, document.folder, places)
            except DaskparError as error:
                raise document.error(item.line, str(error)) from None
            ending = "/" if item.text.endswith(("/", "\\")) else ""
            items.append(replace(item, text=f"{place}{ending}"))
    return _Opener(replace(first, items=tuple(items)), places).run(files=False)


class _Opener:
    """One MLTable being opened: goes through its transformations in order."""

    def __init__(self, document: Document, datastores: Mapping[str, str]) -> None:
        self.document = document
        self.datastores = datastores
        self.notes = ListingNotes()
        self.files = ListedFiles(*self._list())
        self.reader: Transformation | None = None

    def run(self, files: bool) -> Table | FileList:
        table: Table | None = None
        for transformation in self.document.transformations:
            if files and transformation.name.startswith("read_"):
                break
            try:
                table = self._transformed(table, transformation)
            except TransformationError as error:
                raise self.document.transformation_error(transformation.number, error) from None
            except DaskparError as error:
                raise self._located(transformation.line, error) from None
            except ValueError as error:
                raise self.document.located(transformation.line, error) from None
        return self._file_list() if table is None else self._finish(table)

    def _transformed(self, table: Table | None, transformation: Transformation) -> Table | None:
        """What one more transformation makes of the table, or of the list of files while there is none."""
        if table is not None:
            return transform_table(table, transformation, where=f"{self.document.file}:{transformation.line}")
        if transformation.name.startswith("read_"):
            self.reader = transformation
            return self._read(transformation)
        self.files.transform(transformation)
        return None

    def _located(self, line: int | None, error: DaskparError) -> DaskparError:
        told = str(error).startswith(self.document.file + ":")
        return error if told else self.document.located(line, error)

    def _last_choice(self) -> int | None:
        """The line of the last transformation that left columns out."""
        lines = [
            found.line
            for found in self.document.transformations
            if found.name in ("keep_columns", "drop_columns")
        ]
        return lines[-1] if lines else None

    def _list(self) -> tuple[list[str], list[int]]:
        """The files of all items of `paths`, and the line of each one's item."""
        paths: list[str] = []
        lines: list[int] = []
        # an item may be given twice: as in Microsoft's reader its files are read twice; they are listed once
        known: dict[tuple[str, str], list[str]] = {}
        for item in self.document.items:
            try:
                location = resolve(item.text, self.document.folder, self.datastores)
                if item.how == "file" and item.text.endswith(("/", "\\")):
                    location += "/"  # a mistake that resolving would hide
                found = known.get((item.how, location)) or files_of_item(item.how, location, self.notes)
                known[item.how, location] = found
            except (DaskparError, ValueError) as error:
                raise self.document.located(item.line, error) from None
            paths += found
            lines += [item.line] * len(found)
        return paths, lines

    def _file_list(self) -> FileList:
        files = self.files
        if not files.names:
            raise self.document.error(self._last_choice(), "no column is left of the list of files")
        return FileList(
            paths=files.paths,
            columns=files.values,
            has_path=files.has_path,
            origin=self.document.file,
            stamps=self.notes.stamps,
            warnings=self.notes.warnings,
            whole=not may_hold_urls(files.paths),  # no listing tells of a URL that is named by itself
            document=self.document.file,
        )

    def _read(self, reader: Transformation) -> Table:
        """The table that a `read_*` transformation makes of the files."""
        if not self.files.has_path:
            raise InputError(
                f"{reader.name} reads the files of the column 'Path', which an earlier step has left out"
            )
        if reader.name == "read_delta_lake":
            self._list_delta(reader)
        stamps = self._stamps()
        self._check_sizes(stamps)
        # as Microsoft's reader: files of no bytes are skipped
        full = [number for number, stamp in enumerate(stamps) if stamp.size > 0]
        self.files.select(full)
        table = INFER_TABLE[reader.name](
            self.document.file,
            tuple(self.files.paths),
            tuple(stamps[number].size for number in full),
            reader.options,
        )
        marks = tuple(stamps[number].mark for number in full)
        table = replace(table, marks=marks, warnings=self.notes.warnings)
        return self._with_columns_of_files(table, bool(reader.options["include_path_column"]))

    def _with_columns_of_files(self, table: Table, include_path: bool) -> Table:
        """The table with `Path`, where it is asked for, and the columns that come from the paths."""
        steps: list[dict[str, Any]] = []
        new: list[str] = []
        if include_path:
            path_column(self.files.paths)  # raises where a name is no text
            steps.append({"op": "path"})
            new.append("Path")
        values = self.files.values
        if values is not None and values.num_columns:
            table = replace(table, values=values)
            steps.append({"op": "files", "names": values.column_names, "first": 0, "at": len(new)})
            new += values.column_names
        taken = set(table.base.names)
        for name in new:
            if name in taken:
                raise InputError(
                    f"there are two columns {name!r}: one in the data, one from the path of the files"
                )
            taken.add(name)
        for step in steps:
            table = with_step(table, step)
        return table

    def _list_delta(self, reader: Transformation) -> None:
        """Replace the list of files by what the log of a delta table names."""
        from daskpar.data.formats.delta import delta_files  # an extra of daskpar

        first = self.document.transformations[0]
        if first is not reader:
            raise self.document.error(
                first.line,
                "`read_delta_lake` must be the first step: its log names its files, "
                f"so `{first.name}` has none to act on",
            )
        folders = [item for item in self.document.items if item.how == "folder"]
        if len(folders) != 1 or len(self.document.items) != 1:
            raise InputError("read_delta_lake reads one table: give `paths` exactly one `folder`")
        folder = resolve(folders[0].text, self.document.folder, self.datastores)
        options = reader.options
        paths, values = delta_files(folder, options["version_as_of"], options["timestamp_as_of"])
        self.files = ListedFiles(paths, [folders[0].line] * len(paths), values)

    def _stamps(self) -> list[Stamp]:
        """What each file is known by; the error of one that is missing names the line of its item."""
        files = self.files

        def one(number: int) -> Stamp:
            path = files.paths[number]
            if (known := self.notes.stamps.get(path)) is not None:
                return known
            try:
                return planned_stamp(path)
            except InputError as error:
                raise self.document.located(files.lines[number], error) from None

        return look_at_each(carried(one), range(len(files.paths)))

    def _check_sizes(self, stamps: Sequence[Stamp]) -> None:
        """Tables are read piece by piece; a file without a size would be taken for one of no bytes."""
        for number, stamp in enumerate(stamps):
            if stamp.size < 0:
                error = InputError(
                    f"{self.files.paths[number]}: its server does not say how long it is (it packs what it "
                    "sends, or sends it in chunks), so it can't be read piece by piece. Download it, or put "
                    "it on a server that takes requests for ranges"
                )
                raise self.document.located(self.files.lines[number], error)

    def _finish(self, table: Table) -> Table:
        """The table with its sample, and without columns that nobody looks at."""
        table = table.pruned()
        reader_line = self.reader.line if self.reader else None
        try:
            sample, whole = sample_table(table)
        except InputError as error:
            raise self._located(reader_line, error) from None
        # as Microsoft's reader: no column left is an error, unless there are no rows
        if not table.schema.names and not (whole and not sample.num_rows and not has_rows(table)):
            line = self._last_choice() or reader_line
            raise self.document.error(line, "no column is left: the steps keep none of the table's")
        return replace(table, sample=sample, whole=whole)
