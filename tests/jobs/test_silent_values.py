"""Values that land wrong without an error are told once, with the total of all processors and all tries."""

from __future__ import annotations

import pytest

from daskpar.data.notices import LossCounter

READ = """
paths:
  - pattern: ./*.csv
transformations:
  - read_delimited
"""
INPUTS = {"files": {"type": "mltable", "path": "./table", "mode": "direct"}}


def rows(start: int, stop: int, text: str = "{0},{0}.5") -> str:
    return "".join(text.format(number) + "\n" for number in range(start, stop))


def run(work, script: str, *, size: str = "300", retries: int = 0, arguments: str = "", **more):
    work.write("table/MLTable", READ)
    step = work.parallel(
        script,
        inputs=INPUTS,
        mini_batch_size=size,
        max_concurrency_per_instance=2,
        retry_settings={"max_retries": retries, "timeout": 20},
        arguments=arguments,
        **more,
    )
    return work.run({"work": step})


def warnings(ended) -> list[str]:
    """Those of values. By chance tries that are to fail may gather on one processor, or come in a row; that is said too."""
    said = [line for line in ended.summary.splitlines() if line.startswith("Warning: ")]
    return [line for line in said if "failures gather on" not in line and "by a fresh process" not in line]


def test_a_clean_table_gives_no_warning(work):
    for name in "abc":
        work.write(f"table/{name}.csv", "id,price\n" + rows(0, 300))
    ended = run(work, "def run(m): return m")
    assert ended.status == "completed" and warnings(ended) == [] and len(work.rows()) == 900


def test_files_with_another_header_are_counted_over_all_processors(work):
    work.write("table/a.csv", "id,price\n" + rows(0, 100))
    for number in range(6):
        work.write(f"table/b{number}.csv", "price,id\n" + rows(0, 100, "{0}.5,{0}"))
    ended = run(work, "def run(m): return m")
    (warning,) = warnings(ended)
    assert "6 files with the columns of the first one in another order" in warning
    assert "'price,id': write `header: all_files_different_headers`" in warning
    assert len(work.rows()) == 700  # as Microsoft's reader: by position


@pytest.mark.parametrize("tries", [1, 2])
def test_a_value_counts_once_however_often_its_mini_batch_is_tried(work, tries):
    """Half of the mini-batches fail: for good without a retry, else the first time."""
    work.write("table/a.csv", "id,price\n" + rows(0, 300) + rows(0, 300, "no{0},{0}.5"))
    script = """
        import os, pathlib
        def run(m):
            if int(m.price.iloc[0]) % 2:
                try:
                    pathlib.Path(os.environ["SEEN"], f"{m.id.isna().all()}{m.price.iloc[0]}").touch(exist_ok=False)
                except FileExistsError:
                    return m
                raise ValueError("the first time")
            return m
    """
    (work.folder / "seen").mkdir()
    ended = run(work, script, retries=tries - 1, environment_variables={"SEEN": str(work.folder / "seen")})
    assert "failed tries" in ended.summary and (" failed;" in ended.summary) == (tries == 1)
    (warning,) = warnings(ended)
    assert "300 values of column 'id' became null" in warning


def test_ids_that_the_float_beside_a_blank_changes(work):
    ids = "".join(f"{'' if number % 10 == 0 else 9007199254740993 + 2 * number},x\n" for number in range(60))
    work.write("table/a.csv", "id,k\n" + ids)
    ended = run(work, "def run(m): return m", size="1mb")
    (warning,) = warnings(ended)
    assert "54 integers of column 'id' beyond 2^53 became another number in a float" in warning
    assert "9007199254740995 became 9007199254740996" in warning


def test_groups_of_rows_tell_what_reading_and_frames_have_lost(work):
    ids = "".join(
        f"{'' if number % 10 == 0 else 9007199254740993 + 2 * number},{number % 3}\n" for number in range(60)
    )
    work.write("table/a.csv", "id,k\n" + ids + "1,2,3\n5\n")
    ended = run(work, "def run(m): return m", size="1mb", partition_keys=["k"])
    told = " ".join(warnings(ended))
    assert "54 integers of column 'id' beyond 2^53" in told and "1 record with fewer fields" in told


def test_run_that_returns_its_columns_in_another_order(work):
    work.write("table/a.csv", "id,price\n" + rows(0, 300))
    ended = run(work, "def run(m): return m if m.id.iloc[0] % 2 else m[['price', 'id']]")
    (warning,) = warnings(ended)
    assert "run() returned DataFrames with different columns" in warning
    assert " of id, price" in warning and " of price, id" in warning
    assert "--append_row_dataframe_header" in warning


def test_texts_of_run_that_take_several_lines(work):
    work.write("table/a.csv", "id,price\n" + rows(0, 300))
    ended = run(work, "def run(m): return [f'{i}\\nmore' for i in m.id]")
    (warning,) = warnings(ended)
    assert "300 line breaks inside rows that run() returned" in warning
    assert len(work.rows()) == 600


def test_planning_tells_what_its_sample_shows(work):
    work.write("table/a.csv", "zip,price\n" + rows(1000, 1300, "0{0},{0}.5"))
    ended = run(work, "def run(m): return m")
    (warning,) = warnings(ended)
    assert "200 values of column 'zip' in the inference sample lost leading zeros" in warning


def test_nothing_is_worded_where_nothing_was_counted(monkeypatch, work):
    monkeypatch.setattr(LossCounter, "take_totals", lambda *_: pytest.fail("called"))
    work.files(3)
    assert work.run({"work": work.parallel()}).status == "completed"
