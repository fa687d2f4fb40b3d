"""Checks, before anything runs, that what a step writes to a URL can be written there.

A store does not always tell by a listing who may write: a tiny object is put there and removed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

from daskpar.data.reach import Reach, reach_of
from daskpar.errors import DataUnreached, InputError
from daskpar.jobspec.model import CommandStep, Output, ParallelStep
from daskpar.locations import filesystem, is_url, make_folder_of, remote_errors

_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
        "DefaultCredentialsError", "CredentialUnavailableError", "NoAuthTokenError", "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
    }
)  # fmt: skip
"""Names of the classes of errors that say that nobody has given credentials."""
_BY_DATASTORE = "Give them as storage_options of a datastore (daskpar.datastores.NAME)"
_S3 = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give key and secret"
_AZURE = "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give account_name and account_key"
_GOOGLE = "Set GOOGLE_APPLICATION_CREDENTIALS, or give token"
_AS = "as storage_options of a datastore (daskpar.datastores.NAME)"
_CREDENTIALS = {
    **dict.fromkeys(("s3", "s3a"), f"{_S3} {_AS}"),
    **dict.fromkeys(("abfs", "abfss", "az"), f"{_AZURE} {_AS}"),
    **dict.fromkeys(("gs", "gcs"), f"{_GOOGLE} {_AS}"),
}
"""Scheme -> how credentials are given."""


def folders_written(step: ParallelStep | CommandStep) -> Iterator[tuple[str, Output | None]]:
    """The URLs of the folders to which the engine writes for a step, each once, with the output that it is
    for.
    """
    rows = step.append_row_to if isinstance(step, ParallelStep) else None
    into_folder = isinstance(step, ParallelStep) and step.append_row_folder
    found: dict[str, Output | None] = {}
    if rows and is_url(rows):
        of = next((output for output in step.outputs.values() if rows.startswith(output.path)), None)
        found[rows.rstrip("/") if into_folder else rows.rpartition("/")[0]] = of
    failed = step.settings.failed_items_to if isinstance(step, ParallelStep) else None
    if failed and is_url(failed) and all(output.path != failed for output in step.outputs.values()):
        found[failed.rstrip("/")] = None
    for output in step.outputs.values():
        if output.seen:
            place = output.path.rstrip("/")
            found.setdefault(place.rpartition("/")[0] if output.type == "uri_file" else place, output)
    yield from found.items()


def check_written(folder: str, what: str) -> str:
    """Put a tiny object into the folder at a URL and remove it; a sentence where it can't be removed.

    `what` is written there, for the message. Raises InputError where nothing can be written there, with what
    to do: DataUnreached where that may be otherwise later.
    """
    name = f"{folder.rstrip('/')}/.daskpar-probe-{secrets.token_hex(6)}"
    files, root = filesystem(folder)
    inner = f"{root.rstrip('/')}/{name.rpartition('/')[2]}"
    try:
        with remote_errors():
            make_folder_of(name, files, inner)
            files.pipe_file(inner, b"can this be written?\n")
    except OSError as error:
        kind = DataUnreached if reach_of(error) == Reach.UNREACHED else InputError
        raise kind(f"{what} can't be written to {folder}: {trouble(folder, error)}") from error
    try:
        with remote_errors():
            files.rm_file(inner)
    except OSError as error:
        return f"{name}, by which was tried whether {what} can be written, can't be removed: {error}"
    return ""


def trouble(url: str, error: BaseException) -> str:
    """Why a store refuses, in words, and what to do."""
    scheme, _, rest = url.partition("://")
    bucket = f"{scheme}://{rest.partition('/')[0]}"
    names: set[str] = set()
    chain: BaseException | None = error
    while chain is not None and len(names) < 100:
        names |= {kind.__name__ for kind in type(chain).__mro__}
        chain = chain.__cause__ or chain.__context__
    if names & _NO_CREDENTIALS:
        return f"there are no credentials for it ({error}). {_CREDENTIALS.get(scheme.lower(), _BY_DATASTORE)}"
    if "EndpointConnectionError" in names or "ConnectionRefusedError" in names:
        return f"nothing answers there ({error}). Is the address right ({_endpoint()}), and the store up?"
    if reach_of(error) == Reach.GONE:
        return f"there is no {bucket} ({error}). Make it, or write the name of one that is there"
    if isinstance(error, PermissionError) or reach_of(error) == Reach.UNREACHED:
        return f"{error}. Is it there, and may these credentials write to it?"
    return str(error)


def _endpoint() -> str:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if found := os.environ.get(name):
            return f"{name} is {found}"
    return "endpoint_url in storage_options, or AWS_ENDPOINT_URL"
