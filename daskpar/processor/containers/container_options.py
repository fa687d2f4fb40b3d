"""Options of the user's for the `run` of a container's runtime: which there may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from daskpar.errors import UsageError

_OURS_ALONE = {
    "--pid": "its processes are watched and ended by their numbers",
    "--name": "it is found by its name",
    "--entrypoint": "it is what starts the step",
    "--detach": "it ends with the step",
    "-d": "it ends with the step",
    "--restart": "it ends with the step",
    "--workdir": "a step has a folder of its own",
    "-w": "a step has a folder of its own",
}
"""Options that are not for users, and why."""
SAME = {"-u": "--user", "--net": "--network"}
"""Short names of options of which we have a default."""


_SWITCHES = frozenset("ditqP")
"""Short options without a value, of which several may stand in one word."""


def check_image(image: str) -> None:
    """UsageError for what its runtime would take for one of its options, and for what is no name."""
    if image.startswith("-") or any(letter.isspace() for letter in image):
        raise UsageError(f"{image!r} is no name of an image")


def check_options(options: Sequence[str]) -> None:
    """UsageError for an option that would break what daskpar promises, and for what is none."""
    for option in option_names(options):
        if {"-", "d"} < set(option) <= {"-", *_SWITCHES} and not option.startswith("--"):
            option = "-d"
        if why := _OURS_ALONE.get(option):
            raise UsageError(f"the option {option} is not for its container: {why}")
    if options and not options[0].startswith("-"):
        raise UsageError(f"the options of its container begin with {options[0]!r}, which is no option")
    if "--" in options:
        raise UsageError("the options of its container end before the image: leave out `--`")


def option_names(options: Iterable[str]) -> list[str]:
    """The names of those that begin with a hyphen, without their values."""
    return [option.partition("=")[0] for option in options if option.startswith("-")]
