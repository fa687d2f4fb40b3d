"""What a process may use: of all control groups that it is in the tightest one counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.processor import resource_usage


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_control_groups_are_followed_to_the_root(tmp_path):
    write(tmp_path / "own", "3:cpu,cpuacct:/a\n2:memory:/\n0::/a/b\n")
    found = [
        str(path.relative_to(tmp_path))
        for path in resource_usage.control_groups("cpu", str(tmp_path / "own"), str(tmp_path / "root"))
    ]
    assert found == ["root/cpu/a", "root/cpu", "root/a/b", "root/a", "root"]


def test_without_a_word_of_the_kernel_the_root_is_looked_at(tmp_path):
    assert resource_usage.control_groups("memory", str(tmp_path / "none"), "/root") == [Path("/root")]


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Three nested control groups, the innermost first."""
    folders = [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
    folders[0].mkdir(parents=True)
    monkeypatch.setattr(resource_usage, "control_groups", lambda controller: folders)
    return folders


def test_the_group_that_is_nearest_to_its_limit_tells_the_free_memory(groups):
    megabyte = 1 << 20
    for folder, limit, used in zip(
        groups, ("max", str(100 * megabyte), str(50 * megabyte)), (1, 95, 45), strict=True
    ):
        write(folder / "memory.max", limit)
        write(folder / "memory.current", str(used * megabyte))
    assert resource_usage.free_memory() == (5 * megabyte, 100 * megabyte)
    write(groups[1] / "memory.stat", f"anon 1\ninactive_file {80 * megabyte}\n")
    assert resource_usage.free_memory() == (5 * megabyte, 50 * megabyte)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        (("max 100000", "150000 100000", "400000 100000"), 2),
        (("50000 100000", "max 100000", ""), 1),
        (("", "", ""), 64),
    ],
)
def test_cores_are_those_of_the_tightest_quota(groups, monkeypatch, quotas, expected):
    monkeypatch.setattr(resource_usage.os, "sched_getaffinity", lambda pid: range(64))
    for folder, quota in zip(groups, quotas, strict=True):
        write(folder / "cpu.max", quota)
    assert resource_usage.cores() == expected


def test_a_quota_of_the_older_kind(groups):
    write(groups[0] / "cpu.cfs_quota_us", "300000")
    write(groups[0] / "cpu.cfs_period_us", "100000")
    assert resource_usage.cpu_quota(groups[0]) == 3
    write(groups[0] / "cpu.cfs_quota_us", "-1")
    assert resource_usage.cpu_quota(groups[0]) == 0
