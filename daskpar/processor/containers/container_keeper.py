"""Beside each container: a folder of its own here, and a process that removes both should we be killed.

A container belongs to its runtime, and so would outlive us. Its fork server ends when our end of its socket
is closed, but a command in a container knows nothing of us, and what is left of a container that was ended by
force only its runtime can remove.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile

from daskpar.processor.containers.container_runtime import Runtime, removal_line, remove

_KEEP = 'read -r word && exit; sleep 1; "$@" >/dev/null 2>&1; rm -rf -- "$FOLDER"'
"""A line says that all is well; the end of the file that we have gone. The fork server in the container then
has a second to write down what its processors were doing."""


class ContainerKeeper:
    """The folder of a container that is about to be started, and what goes on after our death.

    `name`: the container's. OSError where there is no place for the folder.
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime, self._name = runtime, name
        self.folder = tempfile.mkdtemp(prefix="daskpar-box-")
        """For the container's temporary files (`tmp`), and what it is told."""
        try:
            os.mkdir(os.path.join(self.folder, "tmp"), 0o700)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _KEEP, "daskpar-keeper", *removal_line(runtime, name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "FOLDER": self.folder},
                cwd="/",
                start_new_session=True,  # whoever kills our group is to leave it
            )
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Kill the container with all in it; nothing where it has gone."""
        remove(self._runtime, self._name)

    def close(self) -> None:
        """The container has gone: remove its folder, and end the keeper."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"well\n")
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
