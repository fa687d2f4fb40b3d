"""What a conda file asks for, and what PyPI has of it."""

from __future__ import annotations

import pytest

from daskpar.environments.build_tools import fits, requirements_of
from daskpar.environments.conda_file import conda_file_of, package_of
from daskpar.environments.conda_names import on_pypi
from daskpar.environments.environment_check import _some_of
from daskpar.errors import UsageError

LINES = [
    ("numpy", "numpy", "", True),
    ("numpy=1.26", "numpy", "==1.26.*", True),
    ("numpy==1.26.4", "numpy", "==1.26.4", True),
    ("numpy=1.26.4=py39h_0", "numpy", "==1.26.4", True),
    ("numpy 1.26.4 py39h_0", "numpy", "==1.26.4", True),
    ("numpy=1.26.*", "numpy", "==1.26.*", True),
    ("numpy 1.26.*", "numpy", "==1.26.*", True),
    ("numpy>=1.20,<2", "numpy", ">=1.20,<2", True),
    ("numpy >=1.20, <2", "numpy", ">=1.20,<2", True),
    ("numpy!=1.24.1", "numpy", "!=1.24.1", True),
    ("conda-forge::lightgbm=3.3", "lightgbm", "==3.3.*", True),
    ("numpy[version='>=1.20']", "numpy", ">=1.20", True),
    ("numpy 1.25", "numpy", "==1.25", True),
    ("numpy 1.25.*", "numpy", "==1.25.*", True),
    ("numpy=1.25|1.26", "numpy", "", False),
    ("NumPy=1.26", "numpy", "==1.26.*", True),
    ("numpy=*", "numpy", "", True),
    ("numpy *", "numpy", "", True),
    ("numpy=1.26*", "numpy", "==1.26.*", True),
    ("numpy >=1.20.*", "numpy", ">=1.20", True),
    ("numpy<2.*,>1", "numpy", "<2,>1", True),
    ("numpy !=1.24.*", "numpy", "!=1.24.*", True),
    ("numpy ==1.24.*", "numpy", "==1.24.*", True),
    ("numpy ==1.24 py39_0", "numpy", "==1.24", True),
    ("numpy>=1.20,what?", "numpy", ">=1.20", False),
    ("numpy[version='1.5|1.7']", "numpy", "", False),
    (" numpy[build=py39_0] ", "numpy", "", True),
    ("?what", "?what", "", False),
]


@pytest.mark.parametrize(("line", "name", "version", "clear"), LINES, ids=[line for line, *_ in LINES])
def test_lines_of_dependencies(line, name, version, clear):
    found = package_of(line)
    assert (found.name, found.version, found.clear) == (name, version, clear)


def test_a_whole_file():
    file = conda_file_of(
        {
            "name": "x",
            "channels": ["conda-forge"],
            "dependencies": [
                "python=3.10",
                "pip",
                "pytorch=2.2",
                "pillow",
                {"pip": ["azureml-core==1.5", "-r more.txt"]},
            ],
        }
    )
    assert (file.channels, file.python.version) == (("conda-forge",), "==3.10.*")
    assert requirements_of(file, ("pandas",)) == [
        "torch==2.2.*",
        "pillow",
        "azureml-core==1.5",
        "-r more.txt",
        "pandas",
    ]


def test_what_pypi_has_not_is_listed_at_once():
    file = conda_file_of(
        {"dependencies": ["cudatoolkit=11.8", "r-base", "numpy", "scipy=1.9|1.10", "libgcc-ng"]}
    )
    with pytest.raises(UsageError) as caught:
        requirements_of(file)
    for name in ("cudatoolkit=11.8", "r-base", "scipy=1.9|1.10", "libgcc-ng"):
        assert name in str(caught.value)
    assert "numpy" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("pytorch", "torch"),
        ("numpy", "numpy"),
        ("librosa", "librosa"),
        ("libxml2", ""),
        ("r-dplyr", ""),
        ("mkl", ""),
    ],
)
def test_names_on_pypi(name, there):
    assert on_pypi(name) == there


@pytest.mark.parametrize(
    ("minor", "versions", "fit"),
    [
        ("3.9", "==3.9.*", True),
        ("3.9", ">=3.8", True),
        ("3.10", "<3.10", False),
        ("3.9", "==3.9.18", True),
        ("3.9", "what", False),
    ],
)
def test_which_pythons_fit(minor, versions, fit):
    assert fits(minor, versions) is fit


@pytest.mark.parametrize(
    ("major", "versions", "some"),
    [
        ("3", "==1.5.*", False),
        ("1", "==1.5.*", True),
        ("2", "<2", False),
        ("1", ">=1.20,<2", True),
        ("2", ">=1.20", True),
        ("0", "==0.9.0", True),
        ("1", "<1.0", False),
        ("3.11", "==3.9.*", False),
        ("3.11", ">=3.8", True),
        ("2", "not a version", True),
    ],
)
def test_another_major_version(major, versions, some):
    """Whether a version that begins like this will do."""
    assert _some_of(major, versions) is some


def test_a_line_is_kept_as_written_and_what_is_no_package_is_left_out():
    file = conda_file_of({"dependencies": ["NumPy=1 ", "pip=23", {"pip": [" six ", "", None]}, {}]})
    assert [package.written for package in file.packages] == ["NumPy=1"]
    assert (file.channels, file.python, file.pip) == ((), None, ("six", "None"))
    assert conda_file_of({}) == conda_file_of({"dependencies": None, "channels": None})
