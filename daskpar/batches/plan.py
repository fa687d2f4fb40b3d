"""Reads a plan of mini-batches from its folder: says what each mini-batch is, and loads its paths or rows.

It is written once by the driver (`plan_writer`) and read by every processor. A plan is a folder with
`plan.json` (what kind, how many, how to read) and files with one row for each file, piece or group, most
of them Arrow IPC files (`plan_arrow`). Mini-batch `i` of a plan is the same whoever reads it, whenever: never
a matter of the cluster, the blocks, a retry or a resume.

    kind      it holds                                           mini-batch i is
    files     paths: path                                        `per_batch` paths from row i * per_batch
    pieces    plan.arrow: file, start, stop (data.tables.table.PIECE)   the rows of piece i
    grouped   the rows of `files` or `pieces`, group by group;   the rows offsets[i] .. offsets[i + 1]
              groups.arrow: offset and the key columns
    numbers   nothing                                            the list [i] (passes of our own), or an
                                                                 empty one (rank_mini_batch_count)

File lists are written and read without pyarrow (`plan.json` says where the arrays lie), so that a processor
of images starts fast. `plan.json` also says how long the other files are, and of which boot of the
machine: what a power cut took away is noticed.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.batches.name_texts import SHOWN_FILES, files_text, first_of, first_rows, keys_text, root_of
from daskpar.batches.plan_arrow import StoredGroups, StoredPaths, mapped_pieces, read_pieces
from daskpar.batches.plan_files import check_present, check_whole, checks_in
from daskpar.batches.plan_stamps import StoredStamps
from daskpar.data.notices import Notice
from daskpar.errors import PlanDamaged, RunDirectoryError
from daskpar.rundir.boot import same_boot
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from daskpar.batches.group_frames import GroupFrames
    from daskpar.data.stamp_columns import StampColumns
    from daskpar.data.tables.table import Table
    from daskpar.data.tables.table_reader import TableReader

FORMAT = 2
"""Version of what a plan's folder holds. Paths of the first one had no `prefix`."""

FILES, PIECES, GROUPED, NUMBERS = "files", "pieces", "grouped", "numbers"


class FileMiniBatch(list[str]):
    """A mini-batch of a file list: the paths, and `task_id`, the index of the mini-batch."""

    task_id: int

    def __init__(self, paths: Sequence[str], task_id: int) -> None:
        super().__init__(paths)
        self.task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return FileMiniBatch, (list(self), self.task_id)


@frozen(kw_only=True)
class PlanSummary:
    """What a plan holds, in figures."""

    count: int
    """Mini-batches."""
    items: int | None = None
    """Files or rows; None where rows are counted as they are read."""
    size_bytes: int | None = None
    """Bytes of the files; None where they are not known."""
    tabular: bool = False
    kind: str = PIECES
    warnings: tuple[str, ...] = ()
    """What the list of files leaves out, what is doubtful of headers and kinds, what was lost in grouping."""


class Plan:
    """A plan opened for reading; mini-batches are loaded one at a time, fastest in ascending order."""

    def __init__(self, folder: Path, document: Mapping[str, Any]) -> None:
        self.folder = folder
        self.checks = checks_in(document)
        self.boot: str = document.get("boot", "")
        """Of the machine, when it was written."""
        self.kind: str = document["kind"]
        self.count: int = document["count"]
        self.planning_warnings: tuple[str, ...] = tuple(document.get("warnings", ()))
        """As those of `PlanSummary`."""
        self.seen: Mapping[str, Any] | None = document.get("seen")
        """What is kept of a long list of files to compare it later (`rundir.seen_files.seen_columns`)."""
        self.tabular: bool = document["tabular"]
        self.per_batch: int = document["per_batch"]
        self.total_items: int | None = document["items"]
        self.size_bytes: int | None = document["size_bytes"]
        self._ranges = _ranges(document.get("parts", ()), self.per_batch)
        self._breaks: list[int] = document.get("breaks", [])
        self.table_text: str = document.get("table", "")
        """`Table.to_json()` of a tabular plan."""
        self._root: str | None = document.get("root")
        self._pieces_at: Mapping[str, int] | None = document.get("pieces")
        self._paths = StoredPaths(folder, document["paths"]) if "paths" in document else None
        self._stamps: StoredStamps | None = None
        if self._paths is not None and "stamps" in document:
            self._stamps = StoredStamps(folder, self._paths.count, local=document["stamps"]["local"])
        self._groups = StoredGroups(folder / "groups.arrow") if self.kind == GROUPED else None
        self.seen_paths: Callable[[list[str]], list[str]] | None = None
        """Turns paths of files into those that mini-batches hold; None: they are the same."""
        self.in_use: Callable[[], tuple[tuple[int, tuple[int, int] | None], ...]] = tuple
        """(mini-batch, span) of others that are in use in this process while one is loaded."""
        self.announce_together: Callable[[int], object] | None = None
        """As that of `TableReader`."""
        self._pieces: np.ndarray | None = None
        self._table: Table | None = None
        self._reader: TableReader | None = None
        self._group_frames: GroupFrames | None = None
        self._kept_columns: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: str | Path) -> Plan:
        """Open the plan in `folder`.

        PlanDamaged when there is none or it lost something, RunDirectoryError for one of a newer version.
        """
        path = Path(folder)
        try:
            document = json.loads((path / "plan.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PlanDamaged(f"{path} holds no plan of mini-batches (plan.json is missing)") from None
        except ValueError as error:
            raise PlanDamaged(f"{path / 'plan.json'} is damaged: {error}") from None
        if document.get("format") not in (1, FORMAT):
            raise RunDirectoryError(
                f"{path / 'plan.json'} has format {document.get('format')}; "
                f"this daskpar reads formats up to {FORMAT}"
            )
        check_present(path, checks_in(document))
        return cls(path, document)

    @classmethod
    def reopen(cls, folder: str | Path) -> Plan:
        """As `open`, for the driver of a run that goes on.

        PlanDamaged also where the files of the plan are not certainly whole.
        """
        plan = cls.open(folder)
        check_whole(plan.folder, plan.checks, same_boot=same_boot(plan.boot))
        return plan

    @property
    def summary(self) -> PlanSummary:
        """What `write_plan` returned."""
        return PlanSummary(
            count=self.count,
            items=self.total_items,
            size_bytes=self.size_bytes,
            tabular=self.tabular,
            kind=self.kind,
            warnings=self.planning_warnings,
        )

    @property
    def table(self) -> Table:
        """The recipe by which the pieces are read; only of tabular plans."""
        if self._table is None:
            from daskpar.data.tables.table import Table

            assert self.table_text
            self._table = Table.from_json(self.table_text)
        return self._table

    @property
    def origin(self) -> str:
        """The MLTable that the rows come from, for messages; empty for a plan of files.

        Known without the modules that read tables, which a driver has no other use for.
        """
        return str(json.loads(self.table_text)["origin"]) if self.tabular else ""

    @property
    def pieces(self) -> np.ndarray:
        """All pieces (an array of PIECE), memory-mapped; only of tabular plans."""
        if self._pieces is None:
            path = self.folder / "plan.arrow"
            # A plan of an earlier version does not say where they lie in the file.
            self._pieces = (
                read_pieces(path) if self._pieces_at is None else mapped_pieces(path, self._pieces_at)
            )
        return self._pieces

    @property
    def reader(self) -> TableReader:
        """The reader of the pieces; it counts the values lost on the way (`notices`)."""
        if self._reader is None:
            from daskpar.data.tables.table_reader import TableReader

            self._reader = TableReader(self.table, self.pieces)
            self._reader.keep = self._kept_columns
            self._reader.announce_together = self.announce_together
        return self._reader

    @property
    def group_frames(self) -> GroupFrames | None:
        """The reader of groups of rows, which lie scattered over files of our own; None for other plans."""
        if self._group_frames is None and self.rows_are_gathered:
            from daskpar.batches.group_frames import GroupFrames

            self._group_frames = GroupFrames(self.table, self.pieces)
            self._group_frames.keep = self._kept_columns
        return self._group_frames

    def items(self, i: int) -> int | None:
        """Planned items of mini-batch `i`, None where rows are only counted by reading."""
        start, stop = self.item_range(i)
        if self.kind == NUMBERS and self.total_items == 0:
            return 0
        if self._paths is not None or self.kind == NUMBERS:
            return stop - start
        counts = [self.table.rows_of(self.pieces[k]) for k in range(start, stop)]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def load(self, i: int, span: tuple[int, int] | None = None) -> FileMiniBatch | pd.DataFrame | list[int]:
        """Mini-batch `i`: what `run()` gets; of a list of files also its items [start, stop) alone.

        Raises InputChanged where a file is not what was planned, DataUnreached where nobody can say now, and
        InputError where it can't be read.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"mini-batch {i} of {self.count}")
        if self._paths is not None:
            start, stop = self.item_range(i)
            if span is not None:
                start, stop = start + span[0], min(stop, start + span[1])
            paths = self._paths.slice(start, stop)
            if self._stamps is not None:
                self._stamps.check(paths, start)
            return FileMiniBatch(paths if self.seen_paths is None else self.seen_paths(paths), i)
        if self.kind == NUMBERS:
            return [i] if self.total_items else FileMiniBatch([], i)
        if self._groups is None:
            return self.reader.frame(i)
        if self.group_frames is not None:
            return self.group_frames.frame(i)
        return self.reader.joined(*self.item_range(i))

    def keys(self, i: int) -> dict[str, Any] | None:
        """Key column -> value of mini-batch `i`, in the order of the keys; None unless grouped."""
        return None if self._groups is None else self._groups.keys(i)

    @property
    def root(self) -> str:
        """The folder, with its last slash, that the names of the files of a list leave out."""
        if self._root is None:  # a plan of an earlier version
            self._root = root_of("", self.paths())
        return self._root

    @property
    def stored_paths(self) -> StoredPaths | None:
        """The files of a file list, whole or in groups; None for other plans."""
        return self._paths

    @property
    def rows_are_gathered(self) -> bool:
        """Whether its groups are rows that lie in files of our own, which nobody knows."""
        if self._groups is None or self._paths is not None:
            return False
        from daskpar.data.tables.table import (
            ARROW,  # brings pyarrow, which processors of file lists do without
        )

        return self.table.format == ARROW

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key columns; none unless grouped."""
        return () if self._groups is None else self._groups.names

    def keep(self, columns: tuple[str, ...]) -> None:
        """Keep these columns of each mini-batch of a table as they were decoded, for `kept`; called before
        the first is loaded.
        """
        self._kept_columns = columns

    @property
    def kept(self) -> pa.Table:
        """The columns that are kept (`keep`), of the mini-batch that was loaded last."""
        reader = self.reader if self.group_frames is None else self.group_frames
        assert reader.kept is not None
        return reader.kept

    def describe(self, i: int, span: tuple[int, int] | None = None) -> str:
        """The items of mini-batch `i`, for messages: its keys, and file names or ranges of bytes or rows.

        `span`: of a list of files, the items [start, stop) alone.
        """
        start, stop = self.item_range(i)
        if span is not None:
            start, stop = start + span[0], start + span[1]
        if self.kind == NUMBERS:
            return f"number {i}"
        if self._paths is not None:
            few = stop - start <= SHOWN_FILES
            shown = (
                self._paths.slice(start, stop)
                if few
                else [*self._paths.slice(start, start + 1), *self._paths.slice(stop - 1, stop)]
            )
            text = files_text([path.removeprefix(self.root) for path in shown], stop - start)
        elif self.rows_are_gathered:
            rows = self.items(i)
            text = f"{rows} row{'' if rows == 1 else 's'}"
        else:
            shown = [self._described_piece(k) for k in range(start, min(stop, start + 3))]
            text = first_of(shown, stop - start)
        keys = self.keys(i)
        return text if keys is None else f"{keys_text(keys)}: {text}"

    def _described_piece(self, k: int) -> str:
        """Piece `k` of a table: its rows or bytes of a file, or its rows of a collection from Python."""
        table, piece = self.table, self.pieces[k]
        if table.by_rows:
            rows = (sum(rows for rows, _ in groups) for groups in table.groups)
            firsts = first_rows(table.origin, self.folder, rows)
            if firsts is not None:
                first = firsts[int(piece["file"])]
                return f"rows {first + int(piece['start'])}–{first + int(piece['stop'])}"
        return table.describe(piece, root_of(table.origin, table.files))

    def described(self, i: int) -> str:
        """The same; empty where the plan can't be read, which must not hide what the message is about."""
        try:
            return self.describe(i)
        except Exception:
            return ""

    def holding(self, row: int) -> int:
        """The mini-batch that has path or piece number `row` of the plan."""
        return bisect.bisect_right(range(self.count), row, key=lambda i: self.item_range(i)[0]) - 1

    def files(self) -> list[str]:
        """The files that paths or pieces are of; none where rows of all files lie together in ours."""
        if self._paths is not None:
            return self.paths()
        if not self.tabular or self.rows_are_gathered:
            return []
        return list(self.table.files)

    def rows_of_files(self, numbers: Collection[int]) -> list[int]:
        """The paths or pieces, by number, that are of the files `numbers` of `files`."""
        if self._paths is not None:
            return sorted(numbers)
        import numpy as np

        found: list[int] = np.flatnonzero(np.isin(self.pieces["file"], list(numbers))).tolist()
        return found

    def expect(self, start: int, stop: int) -> None:
        """Hint: mini-batches [start, stop) are asked for next, so reading ahead ends there."""
        if self.group_frames is not None:
            self.group_frames.expect(start, stop)
        elif self.tabular and start < stop:
            self.reader.expect(self.item_range(start)[0], self.item_range(stop - 1)[1])

    def read_apart(self) -> None:
        """From here on, read the pieces of each file by themselves, however small."""
        if self.tabular and self.group_frames is None:
            self.reader.apart = True

    def notices(self, repeated: Collection[int]) -> tuple[Notice, ...]:
        """Values lost in, or doubtful of, the mini-batches loaded since the last call; none for file lists.

        Without those of the mini-batches `repeated`, which will be loaded again: each counts once in a run.
        """
        frames = self._group_frames
        if frames is not None:
            return frames.take_notices(repeated)
        if self._reader is None:
            return ()
        pieces = {piece for i in repeated for piece in range(*self.item_range(i))}
        return self._reader.take_notices(pieces)

    def paths(self) -> list[str]:
        """All files of a file list, as objects: `path_column` where they may be many."""
        return [] if self._paths is None else self._paths.slice(0, self._paths.count)

    def path_column(self) -> Sequence[str]:
        """The same in a few bytes each."""
        return [] if self._paths is None else self._paths.column()

    def paths_of(self, i: int) -> list[str]:
        """Files of mini-batch `i` of a file list, wherever scripts see them."""
        return [] if self._paths is None else self._paths.slice(*self.item_range(i))

    def some_files(self, i: int, most: int) -> list[str]:
        """Up to `most` of the files that mini-batch `i` is read from, each once; none where
        its rows lie in files of ours.
        """
        start, stop = self.item_range(i)
        chosen = range(start, stop, -(-(stop - start) // most) or 1)
        if self._paths is not None:
            return [path for k in chosen for path in self._paths.slice(k, k + 1)]
        if not self.tabular or self.rows_are_gathered:
            return []
        files = self.table.files
        return [files[number] for number in dict.fromkeys(int(self.pieces["file"][k]) for k in chosen)]

    def stamps(self) -> StampColumns | None:
        """What each file of a file list was known by when it was planned; None where that is not kept."""
        return None if self._stamps is None else self._stamps.all()

    def breaks(self) -> list[int]:
        """First mini-batches of units that are costly to read twice (Parquet row groups), ascending."""
        return self._breaks

    def item_range(self, i: int) -> tuple[int, int]:
        """Which of the paths, or of the pieces, mini-batch `i` holds."""
        if self._groups is not None:
            return self._groups.rows(i)
        if self._ranges is not None:
            return self._ranges[i]
        if self._paths is not None:
            return i * self.per_batch, min((i + 1) * self.per_batch, self._paths.count)
        return i, i + 1

    def item_ranges(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of many mini-batches at once: where each begins, and where it ends."""
        import numpy as np

        if self._groups is None and self._ranges is None:
            if self._paths is None:
                return chosen, chosen + 1
            starts = chosen * self.per_batch
            return starts, np.minimum(starts + self.per_batch, self._paths.count)
        found = np.array([self.item_range(i) for i in chosen.tolist()], np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]


def _ranges(parts: Sequence[int], per_batch: int) -> list[tuple[int, int]] | None:
    """First file and end of each mini-batch, where the files are of several inputs; None for one."""
    if not parts:
        return None
    found, begin = [], 0
    for part in parts:
        end = begin + part
        found += [(start, min(start + per_batch, end)) for start in range(begin, end, per_batch)]
        begin = end
    return found
