"""The kernel calls of our own: children are found, whatever their parent is doing."""

from __future__ import annotations

import os
import subprocess
import threading

from daskpar.processor import linux


def test_children_are_found_while_threads_of_their_parent_end() -> None:
    child = subprocess.Popen(["sleep", "60"])
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert all(child.pid in linux.children_of(os.getpid()) for _ in range(300))
    finally:
        over.set()
        for thread in threads:
            thread.join()
        child.kill()
        child.wait()
