"""The outputs of a step at URLs, as the driver keeps them: what counts, what was left, what is too much."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from pathlib import Path

from daskpar.datastores import carried
from daskpar.errors import DaskparError
from daskpar.jobspec.model import Output
from daskpar.outputs.file_upload import files_below, object_at, remove_object, upload_file
from daskpar.outputs.store_patience import OUTAGE_SECONDS, with_patience
from daskpar.outputs.upload_log import WITHOUT_INDEX, BegunLog, CountedLog, Name, judge
from daskpar.processor.output_sweep import Uploads
from daskpar.value_classes import mutable

THREADS = 8
"""Objects that are written or removed at one time."""
_ENDED = "ended"
"""The file that says that a command has ended well, and what it wrote is to be uploaded."""


def uploads_of(outputs: Mapping[str, Output], folder: Path) -> Uploads | None:
    """The outputs that are filled locally and uploaded; None where there are none. `folder`: that of
    `StepPaths.uploads`.
    """
    found = tuple(
        (name, output.path.rstrip("/").rpartition("/")[0] if output.type == "uri_file" else output.path)
        for name, output in outputs.items()
        if output.seen
    )
    return Uploads(root=str(folder), outputs=found) if found else None


@mutable(kw_only=True)
class StepUploads:
    """What the driver has to do with the `uploads` of one step."""

    uploads: Uploads
    who: str
    """A name that no other process of this run has."""
    warn: Callable[[str], None] = lambda _: None
    stopped: Callable[[], str] = lambda: ""
    progress: Callable[[str], None] = lambda _: None
    outage: float = OUTAGE_SECONDS
    """Seconds for which a store may be away."""
    _counted: CountedLog = field(init=False)

    def __post_init__(self) -> None:
        self._counted = CountedLog(Path(self.uploads.log))

    def begin(self) -> None:
        """Remove what an earlier process has left of mini-batches that are not committed."""
        for folder in (self.uploads.filled, self.uploads.sealed):
            shutil.rmtree(folder, ignore_errors=True)

    def count(self, sealed: Iterable[tuple[int, str]], span: tuple[int, int] | None = None) -> None:
        """Write down, before it is committed, that these files belong to their mini-batches."""
        self._counted.add(list(sealed), span)

    def finish(self, piece_counts: Callable[[int], bool] = lambda _: True) -> None:
        """When all mini-batches have their outcome: upload what `shutdown()` has left, remove the objects of
        tries that do not count, and say which files several mini-batches have written.

        Raises InfrastructureLost where the store is away for long.
        """
        left = Path(self.uploads.left)
        for folder in sorted(left.iterdir()) if left.is_dir() else ():
            self._upload_all(folder, folder.name)
            self.count([(WITHOUT_INDEX, folder.name)])
            shutil.rmtree(folder, ignore_errors=True)
        judged = judge(Path(self.uploads.log), piece_counts)
        self._remove(judged.spare)
        if judged.example is not None:
            more = f" and {judged.written_again - 1} more" if judged.written_again > 1 else ""
            self.warn(
                f"several mini-batches have written {self._target(judged.example)}{more}: of each the last "
                "one stays; put minibatch_index, or the key or file, into the names of files"
            )
        for folder in (Path(self.uploads.filled), Path(self.uploads.sealed), left):
            shutil.rmtree(folder, ignore_errors=True)

    # -- commands ------------------------------------------------------------------------------------------

    @property
    def command_has_ended(self) -> bool:
        """Whether an earlier process has run the command to its end, and something may not be uploaded."""
        return os.path.exists(self._ended) and os.path.isdir(self.uploads.filled)

    def begin_command(self) -> None:
        """Make empty folders for the command to fill."""
        self._ended.unlink(missing_ok=True)
        # What a run of it has uploaded that is not known to have ended goes when this one has ended well.
        self._counted.forget()
        shutil.rmtree(self.uploads.filled, ignore_errors=True)
        for name, _ in self.uploads.outputs:
            os.makedirs(self.uploads.filled + name)

    def finish_command(self) -> None:
        """Upload what a command has written that has ended well. Raises as `finish`."""
        if not self._ended.exists():
            self._ended.parent.mkdir(parents=True, exist_ok=True)
            self._ended.write_text(self.who)
        # Under the name of the process that ran it, so that what is uploaded after a resume is the same.
        token = self._ended.read_text()
        self.upload_all(token)
        self.count([(WITHOUT_INDEX, token)])
        self._remove(judge(Path(self.uploads.log)).spare)
        self._ended.unlink()
        shutil.rmtree(self.uploads.filled, ignore_errors=True)

    def upload_all(self, token: str) -> None:
        """Upload what a command has written, under the name `token`. Raises as `finish`."""
        self._upload_all(Path(self.uploads.filled), token)

    def begin_elsewhere(self, token: str, names: Sequence[Name]) -> None:
        """Write down what a node is about to upload itself that does not see the run directory."""
        BegunLog(self.uploads.log, self.who).add(token, WITHOUT_INDEX, names)

    @property
    def _ended(self) -> Path:
        return Path(self.uploads.root, _ENDED)

    # -- the store -----------------------------------------------------------------------------------------

    def _upload_all(self, folder: Path, token: str) -> None:
        """Upload the files below `folder`, which holds a folder for each output; each is removed then."""
        files = [(path, *name.split("/", 1)) for path, name in files_below(str(folder))]
        names = [(output, name) for _, output, name in files]
        BegunLog(self.uploads.log, self.who).add(token, WITHOUT_INDEX, names)
        done = 0

        def upload(found: tuple[str, ...]) -> None:
            nonlocal done
            path, output, name = found
            self._with_patience(lambda target: upload_file(path, target), (output, name))
            os.unlink(path)
            done += 1
            self.progress(f"uploading {100 * done // len(files)} %")

        self._do_all(upload, files)

    def _remove(self, names: list[Name]) -> None:
        self._do_all(lambda name: self._with_patience(remove_object, name), names)

    def _with_patience(self, work: Callable[[str], None], name: Name) -> None:
        target = self._target(name)
        with_patience(lambda: work(target), target, stopped=self.stopped, warn=self.warn, outage=self.outage)

    def _target(self, name: Name) -> str:
        return object_at(dict(self.uploads.outputs)[name[0]], name[1])

    @staticmethod
    def _do_all(work: Callable[..., None], items: list) -> None:  # type: ignore[type-arg]
        """Do it with each, several at a time; the first error ends it."""
        if not items:
            return
        errors: list[BaseException] = []

        def one(item: object) -> None:
            if errors:
                return
            try:
                work(item)
            except BaseException as error:
                errors.append(error)

        with ThreadPoolExecutor(THREADS, thread_name_prefix="daskpar-upload") as pool:
            for _ in pool.map(carried(one), items):
                pass
        first = next((e for e in errors if isinstance(e, DaskparError)), errors[0] if errors else None)
        if first is not None:
            raise first
