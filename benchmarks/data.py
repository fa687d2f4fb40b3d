"""The data of the benchmarks: made from fixed seeds, kept between runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks.harness import DATA

CITIES = ["Amsterdam", "Berlin", "Cairo", "Delhi", "Essen", "Faro", "Ghent", "Hanoi"]
ROW_BYTES = 76
"""About one row of the scoring table as text."""
STATES = [
    "pending",
    "in transit",
    "delivered",
    "lost",
    "returned to sender",
    "awaiting payment",
    "cancelled by the customer",
]
ORDER_BYTES = 65
"""About one row of the orders as text."""
CHUNK_ROWS = 250_000
BRANDS = [f"brand{i:02}" for i in range(11)]
DAYS = 120


def once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return `path`; make it if need be, under another name first, so that it never exists half made."""
    if not path.exists():
        print(f"    making {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        growing = path.with_name(path.name + ".growing")
        make(growing)
        growing.rename(path)
    return path


def scoring_chunks(rows: int) -> Iterator[pa.Table]:
    """The scoring table, nine columns; `id` counts the rows, so that a wrong order shows."""
    for start in range(0, rows, CHUNK_ROWS):
        random = np.random.default_rng(start)
        count = min(CHUNK_ROWS, rows - start)
        columns: dict[str, object] = {
            "id": np.arange(start, start + count),
            "city": pa.array(np.array(CITIES, dtype=object)[random.integers(0, len(CITIES), count)]),
        }
        for i in range(7):
            columns[f"x{i}"] = random.normal(size=count).round(5)
        yield pa.table(columns)


def scoring_csv(megabytes: int) -> tuple[Path, int]:
    """The scoring table as one CSV file of about this size, and its number of rows."""
    rows = megabytes * 1_000_000 // ROW_BYTES
    return once(DATA / f"score-{megabytes}mb.csv", lambda path: write_csv(path, scoring_chunks(rows))), rows


def orders_csv(megabytes: int) -> tuple[Path, int]:
    """Orders: integers, decimals, text of some words, true and false, timestamps; the kinds that a table of a
    business has.
    """
    rows = megabytes * 1_000_000 // ORDER_BYTES

    def chunks() -> Iterator[pa.Table]:
        for start in range(0, rows, CHUNK_ROWS):
            random = np.random.default_rng(start)
            count = min(CHUNK_ROWS, rows - start)
            moments = np.datetime64("2025-01-01T00:00:00") + random.integers(0, 60_000_000, count).astype(
                "timedelta64[s]"
            )
            yield pa.table(
                {
                    "order": np.arange(start, start + count),
                    "price": random.lognormal(3, 1, count).round(2),
                    "weight": random.normal(10, 3, count).round(4),
                    "state": pa.array(np.array(STATES, dtype=object)[random.integers(0, len(STATES), count)]),
                    "paid": pa.array(
                        np.where(random.integers(0, 2, count) == 1, "true", "false").astype(object)
                    ),
                    "units": random.integers(1, 100_000, count),
                    "ordered": pa.array(moments).cast(pa.string()),
                }
            )

    return once(DATA / f"orders-{megabytes}mb.csv", lambda path: write_csv(path, chunks())), rows


def write_csv(path: Path, chunks: Iterator[pa.Table]) -> None:
    """One file, header first."""
    with path.open("wb") as file:
        for number, table in enumerate(chunks):
            options = pyarrow.csv.WriteOptions(
                include_header=number == 0, quoting_style="none", quoting_header="none"
            )
            pyarrow.csv.write_csv(table, file, options)


def scoring_parquet(megabytes: int, row_groups: int) -> tuple[Path, int]:
    """The scoring table as one Parquet file of `row_groups` row groups."""
    rows = megabytes * 1_000_000 // ROW_BYTES

    def make(path: Path) -> None:
        table = pa.concat_tables(scoring_chunks(rows))
        pyarrow.parquet.write_table(table, path, row_group_size=-(-rows // row_groups))

    return once(DATA / f"score-{megabytes}mb-{row_groups}groups.parquet", make), rows


def scoring_parquet_files(megabytes: int, files: int) -> tuple[Path, int]:
    """The scoring table as a folder of Parquet files of one row group each, named in row order."""
    rows = megabytes * 1_000_000 // ROW_BYTES

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        table = pa.concat_tables(scoring_chunks(rows))
        each = -(-rows // files)
        for number in range(files):
            part = table.slice(number * each, each)
            pyarrow.parquet.write_table(part, folder / f"{number:04}.parquet", row_group_size=each)

    return once(DATA / f"score-{megabytes}mb-{files}files", make), rows


def wide_table(columns: int, rows: int) -> tuple[Path, Path]:
    """An id and floats, one in a hundred missing, as CSV and as Parquet of four row groups."""

    def chunk() -> pa.Table:
        random = np.random.default_rng(columns)
        found: dict[str, object] = {"id": np.arange(rows)}
        for number in range(columns - 1):
            gaps = random.random(rows) < 0.01
            found[f"x{number}"] = pa.array(random.normal(size=rows).round(4), mask=gaps)
        return pa.table(found)

    text = once(DATA / f"wide-{columns}x{rows}.csv", lambda path: write_csv(path, iter([chunk()])))
    parquet = once(
        text.with_suffix(".parquet"),
        lambda path: pyarrow.parquet.write_table(chunk(), path, row_group_size=-(-rows // 4)),
    )
    return text, parquet


def scoring_json_lines(megabytes: int) -> tuple[Path, int]:
    """The scoring table as JSON lines of about this size."""
    rows = megabytes * 1_000_000 // 165

    def make(path: Path) -> None:
        with path.open("w") as file:
            for table in scoring_chunks(rows):
                table.to_pandas().to_json(file, orient="records", lines=True, double_precision=5)

    return once(DATA / f"score-{megabytes}mb.jsonl", make), rows


def small_tables(files: int, rows_each: int) -> tuple[Path, Path]:
    """The scoring table as a folder of small CSV files, each with its header, and as one of JSON lines."""

    def make(folder: Path, ending: str, text: Callable[[pa.Table], str]) -> None:
        folder.mkdir(exist_ok=True)
        number = 0
        for table in scoring_chunks(files * rows_each):
            for at in range(0, table.num_rows, rows_each):
                (folder / f"{number:06}.{ending}").write_text(text(table.slice(at, rows_each)))
                number += 1

    def as_csv(table: pa.Table) -> str:
        return table.to_pandas().to_csv(index=False)

    def as_json(table: pa.Table) -> str:
        return table.to_pandas().to_json(orient="records", lines=True, double_precision=5)

    return (
        once(DATA / f"small-csv-{files}x{rows_each}", lambda folder: make(folder, "csv", as_csv)),
        once(DATA / f"small-json-{files}x{rows_each}", lambda folder: make(folder, "jsonl", as_json)),
    )


def sales_csv(stores: int) -> tuple[Path, int]:
    """Sales of `stores` stores x 11 brands x 120 days, in no order; and the number of groups."""
    groups = stores * len(BRANDS)

    def chunks() -> Iterator[pa.Table]:
        order = np.random.default_rng(3).permutation(groups * DAYS)
        brands = np.array(BRANDS, dtype=object)
        for start in range(0, len(order), CHUNK_ROWS):
            random = np.random.default_rng(start)
            which = order[start : start + CHUNK_ROWS]
            group, day = which // DAYS, which % DAYS
            price = random.uniform(1, 4, len(which)).round(2)
            advert = random.integers(0, 3, len(which))
            quantity = (
                np.exp(9 - 1.5 * np.log(price) + 0.3 * advert + random.normal(0, 0.1, len(which)))
                .round()
                .astype(int)
            )
            columns = {
                "Store": 1000 + group // len(BRANDS),
                "Brand": pa.array(brands[group % len(BRANDS)]),
                "Day": day,
            }
            yield pa.table({**columns, "Quantity": quantity, "Advert": advert, "Price": price})

    return once(DATA / f"sales-{stores}stores.csv", lambda path: write_csv(path, chunks())), groups


def empty_files(count: int) -> Path:
    """A folder of `count` empty files."""

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for number in range(count):
            os.close(os.open(folder / f"{number:06}.bin", os.O_CREAT | os.O_WRONLY))

    return once(DATA / f"empty-{count}", make)


def named_files(folder: str, names: list[str]) -> Path:
    """A folder of empty files of these names."""

    def make(path: Path) -> None:
        path.mkdir(exist_ok=True)
        for name in names:
            (path / name).touch()

    return once(DATA / folder, make)


def small_files(count: int) -> Path:
    """A flat folder of `count` files of a few bytes, each with another content."""

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for number in range(count):
            fd = os.open(folder / f"{number:07}.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.write(fd, b"%d" % number)
            os.close(fd)

    return once(DATA / f"small-files-{count}", make)
