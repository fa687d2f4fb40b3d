"""What `daskpar init` writes for data that it looks at: a spec, an entry script and, for rows, an MLTable."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from daskpar.errors import InputError, UsageError
from daskpar.jobspec.row_tables import reader_of, table_text
from daskpar.locations import is_url, read_bytes
from daskpar.named_places import looked_up
from daskpar.value_classes import frozen

SAMPLE_BYTES = 65_536
LOOKED_AT = 20
"""Files of a folder that are looked into."""
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"})
_TEXTS = frozenset({".txt", ".md", ".log", ".text", ".html", ".htm", ".xml", ".rst"})
_ROWS = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".parq", ".pq"})
TABLE, IMAGES, TEXTS, FILES = "table", "images", "texts", "files"
_SCRIPTS = {
    TABLE: '''\
"""What is done with each mini-batch: a pandas DataFrame with some rows of the table."""


def init():
    """Called once in each processor: load what all mini-batches need, such as a model."""


def run(mini_batch):
    """Called for each mini-batch; returns a row for each of its rows."""
    # {note}
    return mini_batch
''',
    IMAGES: '''\
"""What is done with each mini-batch: a list of paths of images."""

from pathlib import Path


def init():
    """Called once in each processor: load what all mini-batches need, such as a model."""


def run(mini_batch):
    """Called for each mini-batch; returns a row for each of its images."""
    return [look_at(Path(path)) for path in mini_batch]


def look_at(path):
    # To see the picture: PIL.Image.open(path), of the package pillow.
    return f"{path.name} {len(path.read_bytes())}"
''',
    TEXTS: '''\
"""What is done with each mini-batch: a list of paths of text files."""

from pathlib import Path


def init():
    """Called once in each processor: load what all mini-batches need, such as a model."""


def run(mini_batch):
    """Called for each mini-batch; returns a row for each of its files."""
    return [look_at(Path(path)) for path in mini_batch]


def look_at(path):
    text = path.read_text(encoding="utf-8", errors="replace")
    return f"{path.name} {len(text.split())}"
''',
    FILES: '''\
"""What is done with each mini-batch: a list of paths of files."""

from pathlib import Path


def init():
    """Called once in each processor: load what all mini-batches need, such as a model."""


def run(mini_batch):
    """Called for each mini-batch; returns a row for each of its files."""
    return [look_at(Path(path)) for path in mini_batch]


def look_at(path):
    # {note}
    return f"{path.name} {path.stat().st_size}"
''',
}


@frozen(kw_only=True)
class Seen:
    """What the data is."""

    kind: str
    """`table`, `images`, `texts` or `files`."""
    input_type: str
    path: str
    """As the spec names it."""
    mini_batch_size: str
    note: str
    """One sentence about it."""
    table: str = ""
    """The MLTable to write; empty where none is needed."""


def write_job(data: str, folder: Path) -> tuple[list[Path], str]:
    """Write a job for `data` (a file, a folder or a URL) into `folder`: the files, and what was seen.

    Never replaces a file. Raises UsageError where one is there already, InputError for data that isn't.
    """
    if not data.strip():
        raise UsageError("the name of the data is empty (a shell variable that is not set?)")
    seen = look_at(data, folder)
    texts = _files(seen, _name(data))
    there = [name for name in (*texts, _rows(seen)) if os.path.lexists(folder / name)]
    if there:
        raise UsageError(
            f"nothing was written, for {folder / there[0]} is there already; name another --folder"
        )
    written: list[Path] = []
    path = folder
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        for half in written:
            half.unlink(missing_ok=True)
        why = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(f"{path} can't be written: {why}; name another --folder") from error
    return written, seen.note


def look_at(data: str, folder: Path) -> Seen:
    """What `data` is, with paths as files in `folder` name them."""
    from daskpar.data.files import list_files

    named = is_url(data)  # maybe in a datastore, which may be a folder
    place = looked_up(data) if named else os.path.abspath(data)
    found = [path for path in list_files(place).paths if not _is_hidden(path[len(place) :])]
    if not found:
        raise InputError(f"{data} holds no file")
    is_file = found == [place]
    here = data if named else _from(folder, place)
    if not is_file and os.path.basename(place) != "MLTable" and f"{place.rstrip('/')}/MLTable" in found:
        note = f"{data} is an MLTable, of which a mini-batch has about 1 MB"
        return Seen(kind=TABLE, input_type="mltable", path=here, mini_batch_size="1mb", note=note)
    endings = Counter(os.path.splitext(path)[1].lower() for path in found)
    if len(endings) == 1 and (reader := _reader(found)):
        below = data.rstrip("/") if named else _from(folder / "table", place)
        ending = os.path.splitext(found[0])[1]
        deep = any("/" in path[len(place) :].strip("/") for path in found)
        spelt = sorted({os.path.splitext(path)[1] for path in found})  # .csv and .CSV are two patterns
        patterns = [f"pattern: {below}/{'**/' if deep else ''}*{each}" for each in spelt]
        note = f"{_count(len(found), 'file')} of rows ({ending}), of which a mini-batch has about 1 MB"
        return Seen(
            kind=TABLE,
            input_type="mltable",
            path="./table",
            mini_batch_size="1mb",
            note=note,
            table=table_text([f"file: {below}"] if is_file else patterns, reader),
        )
    kinds = {IMAGES: _IMAGES, TEXTS: _TEXTS}
    kind = next((kind for kind, known in kinds.items() if endings.keys() <= known), FILES)
    listed = ", ".join(f"{number} {ending or 'without ending'}" for ending, number in endings.most_common(5))
    return Seen(
        kind=kind,
        input_type="uri_file" if is_file else "uri_folder",
        path=here,
        mini_batch_size=str(max(1, min(100, len(found) // 20))),
        note=f"{_count(len(found), 'file')} ({listed})",
    )


def _files(seen: Seen, name: str) -> Mapping[str, str]:
    """Name -> content of what is written."""
    mode = ", mode: direct" if seen.input_type == "mltable" else ""
    unit = "of a table" if mode else "files for each call of run()"
    arguments = (
        "\n      program_arguments: --append_row_format csv   # else lines of text, as in Azure"
        if mode
        else ""
    )
    spec = f"""\
# {seen.note[0].upper()}{seen.note[1:]}.
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
name: {name}
settings:
  default_compute: local

jobs:
  score:
    type: parallel
    inputs:
      data: {{type: {seen.input_type}, path: {_quoted(seen.path)}{mode}}}
    outputs:
      rows: {{type: uri_file, path: ./{_rows(seen)}}}
    input_data: ${{{{inputs.data}}}}
    mini_batch_size: "{seen.mini_batch_size}"   # {unit}
    mini_batch_error_threshold: 0   # failed mini-batches that are allowed; -1: any number
    retry_settings:
      max_retries: 2
      timeout: 60   # seconds for each call of run()
    task:
      type: run_function
      code: ./code
      entry_script: score.py{arguments}
      environment: azureml:any:1   # code runs in this Python, unless --environment says otherwise
      append_row_to: ${{{{outputs.rows}}}}
"""
    script = _SCRIPTS[seen.kind].replace("{note}", seen.note)
    files = {"pipeline.yml": spec, "code/score.py": script}
    if seen.table:
        files["table/MLTable"] = seen.table
    return files


def _rows(seen: Seen) -> str:
    """The file of what run() returns."""
    return "rows.csv" if seen.kind == TABLE else "rows.txt"


def _reader(paths: Sequence[str]) -> str:
    """The transformation that reads files of one ending; empty where they hold no rows."""
    ending = os.path.splitext(paths[0])[1].lower()
    if ending == ".json":
        return reader_of("x.jsonl") if all(_holds_json_lines(path) for path in paths[:LOOKED_AT]) else ""
    if ending not in _ROWS:
        return ""
    if ending not in (".csv", ".tsv", ".tab"):
        return reader_of(paths[0])
    return _delimited([_sample(path) for path in paths[:LOOKED_AT]], "\t" if ending != ".csv" else ",")


def _delimited(samples: Sequence[bytes], usual: str) -> str:
    """`read_delimited` with the options that fit the beginnings of some files."""
    full = [sample for sample in samples if sample.strip()] or [b""]
    texts, encoding = _decoded(full)
    delimiter = usual
    for sign in (usual, ";", "\t", "|", ","):
        if sign in texts[0].partition("\n")[0]:
            delimiter = sign
            break
    firsts = [next(csv.reader(text.splitlines(), delimiter=delimiter), []) for text in texts]
    header = "no_header"
    if all(_is_header(first) for first in firsts):
        header = (
            "all_files_same_headers"
            if firsts.count(firsts[0]) == len(firsts)
            else "all_files_different_headers"
        )
    options = [f"delimiter: {json.dumps(delimiter)}", f"encoding: {encoding}", f"header: {header}"]
    if any(line.count('"') % 2 for text in texts for line in text.splitlines()[:-1]):
        options.append("support_multi_line: true")
    return f"read_delimited: {{{', '.join(options)}}}"


def _decoded(samples: Sequence[bytes]) -> tuple[list[str], str]:
    """The samples as texts, and the encoding that they seem to have, as MLTables call it."""
    if samples[0].startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return [sample.decode("utf-16", "ignore") for sample in samples], "utf16"
    try:
        return [_text(sample, "utf-8-sig") for sample in samples], "utf8"
    except UnicodeDecodeError:
        return [_text(sample, "latin-1") for sample in samples], "iso88591"


def _is_header(row: Sequence[str]) -> bool:
    """Whether a first row has names, not values."""
    return len(set(row)) == len(row) > 0 and all(
        cell.strip() and not re.fullmatch(r"\s*[-+]?[\d.,:/\- eE]+\s*", cell) for cell in row
    )


def _text(sample: bytes, encoding: str) -> str:
    """The whole lines of a sample as text."""
    whole = sample if len(sample) < SAMPLE_BYTES else sample[: sample.rfind(b"\n") + 1]
    return whole.decode(encoding)


def _holds_json_lines(path: str) -> bool:
    lines = [line for line in _sample(path).splitlines() if line.strip()]
    try:
        return len(lines) > 1 and all(
            isinstance(json.loads(line), dict) for line in lines[: min(5, len(lines) - 1)]
        )
    except ValueError:
        return False


def _sample(path: str) -> bytes:
    try:
        return read_bytes(path, 0, SAMPLE_BYTES)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from None


def _is_hidden(path: str) -> bool:
    """Whether a path below the data has a part that programs leave behind: `.git`, `_SUCCESS`."""
    return any(part.startswith((".", "_")) for part in path.split("/") if part)


def _from(folder: Path, place: str) -> str:
    """The path of `place` as a file in `folder` writes it."""
    relative = os.path.relpath(place, os.path.abspath(folder))
    return relative if relative.startswith("..") else f"./{relative}"


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./\-:]+", path) and ": " not in path else json.dumps(path)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _name(data: str) -> str:
    stem = os.path.splitext(os.path.basename(os.path.abspath(data).rstrip("/")))[0]
    name = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_")
    return name or "job"
