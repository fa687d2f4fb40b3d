"""Whether data could not be reached, or is certainly not there: what an error says of it, and no more.

A store that is down, a network that is cut, credentials that are missing or have run out: that is nobody's
mini-batch. The packages of the stores are not imported: an error is known by the name of its class, its
`errno`, the status of an HTTP answer and the code of a store, its own or those of the errors behind it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from enum import StrEnum

from daskpar.errors import DataUnreached, InputError


class Reach(StrEnum):
    """What an error in reading data says."""

    GONE = "gone"
    """The place answers, and has no such file."""
    UNREACHED = "unreached"
    """Nobody knows: the place did not answer, or refused for now."""
    OTHER = "other"
    """It is there and was reached: it can't be read for a reason of its own."""


UNREACHED_ERRNOS = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED,
        errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET,
        errno.ENOTCONN,  # a FUSE mount whose process is gone: "transport endpoint is not connected"
        errno.ESHUTDOWN, errno.EPIPE, errno.EBUSY, errno.EAGAIN, errno.ENOLINK, errno.ECOMM,
        errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.EKEYEXPIRED, errno.ENOKEY, errno.EKEYREJECTED,
    }
)  # fmt: skip
GONE_ERRNOS = frozenset({errno.ENOENT, errno.ENOTDIR})
GONE_STATUSES = frozenset({404, 410})
UNREACHED_STATUSES = frozenset({401, 403, 407, 408, 423, 425, 429})
"""Beside all from 500 on. An answer without a body gives 403 for credentials that have run out as well."""
GONE_CODES = frozenset(
    {
        "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound", "BlobNotFound", "ContainerNotFound",
        "ResourceNotFound", "PathNotFound", "FilesystemNotFound",
    }
)  # fmt: skip
UNREACHED_CODES = frozenset(
    {
        # of S3, some of which come with the status 400
        "SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
        "RequestLimitExceeded", "TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded",
        "RequestTimeout", "RequestTimeoutException", "RequestTimeTooSkewed", "InternalError",
        "ServiceUnavailable", "AccessDenied", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
        "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure",
        "UnrecognizedClientException",
        # of Azure
        "ServerBusy", "OperationTimedOut", "AuthenticationFailed", "AuthorizationFailure",
        "AuthorizationPermissionMismatch", "InvalidAuthenticationInfo",
    }
)  # fmt: skip
DAMAGED_CLASSES = frozenset(
    {
        # aiohttp: an answer that broke off, or is none of HTTP. Behind the first one stands one of the second
        # kind, with a status 400 that it has from nobody
        "ClientPayloadError", "HttpProcessingError",
        # botocore: fewer bytes than were said, a checksum that does not fit, XML that is none
        "IncompleteReadError", "FlexibleChecksumError", "ResponseParserError",
        "IncompleteRead",  # Python's own and urllib3's
    }
)  # fmt: skip
"""Names of classes that say: what came is not what the store has sent. Those of their bases count as well."""
UNREACHED_CLASSES = frozenset(
    {
        # Python's own
        "ConnectionError", "TimeoutError", "gaierror", "herror", "SSLError", "RemoteDisconnected",
        "BadStatusLine",
        # botocore, whose HTTPClientError is the base of refused, reset and timed out requests
        "HTTPClientError", "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
        "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "MetadataRetrievalError",
        "NoAuthTokenError", "ResponseStreamingError",
        # aiohttp
        "ClientConnectionError", "ServerDisconnectedError",
        # requests and urllib3
        "Timeout", "ChunkedEncodingError", "MaxRetryError", "NewConnectionError", "ProtocolError",
        # Google
        "GoogleAuthError", "DefaultCredentialsError", "RefreshError", "TransportError", "RetryError",
        "ServiceUnavailable", "TooManyRequests", "InternalServerError", "GatewayTimeout", "BadGateway",
        # Azure
        "ServiceRequestError", "ServiceResponseError", "ClientAuthenticationError",
        "CredentialUnavailableError",
        # fsspec, httpx
        "FSTimeoutError", "BlocksizeMismatchError", "NetworkError", "RemoteProtocolError",
    }
)  # fmt: skip
"""Names of classes; those of their bases count as well."""
NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError",
        "DefaultCredentialsError", "CredentialUnavailableError", "ClientAuthenticationError",
    }
)  # fmt: skip
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE,",
    "abfs": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or _SAS_TOKEN)",
    "abfss": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or _SAS_TOKEN)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
}
GONE_CLASSES = frozenset({"ResourceNotFoundError", "NotFound"})
LONGEST_TEXT = 1000
"""Characters of an error that are shown whole."""
CHAIN_AT_MOST = 12
"""Errors behind an error that are looked at."""


def reach_of(error: BaseException) -> Reach:
    """What `error`, or the errors that it was raised from, say of the data that was to be read.

    The answer of a store counts first, wherever in the chain it stands: what packages make of it (an OSError
    with a number of their choice) says less. Where that answer came damaged, nothing that it says counts.
    """
    chain = list(_chain(error))
    for judge in (_by_damage, _by_answer, _by_class, _by_errno):
        for one in chain:
            if (found := judge(one)) is not None:
                return found
    return Reach.OTHER


def unreadable(path: str, error: OSError) -> InputError:
    """The error for a file that can't be read: DataUnreached where it could not be reached at all."""
    kind = DataUnreached if reach_of(error) == Reach.UNREACHED else InputError
    text = error.strerror or str(error)
    if len(text) > LONGEST_TEXT:  # some packages list all that they have tried
        text = f"{text.partition(chr(10))[0][:LONGEST_TEXT]} …"
    return kind(f"{path} can't be read: {text}{advice(path, error)}")


def is_refused(error: OSError) -> bool:
    """Whether a store refuses these credentials, or has got none."""
    names = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    no_credentials = names & NO_CREDENTIALS or any(name in str(error) for name in NO_CREDENTIALS)
    return bool(no_credentials) or isinstance(error, PermissionError)


def advice(path: str, error: OSError) -> str:
    """What to do where it is credentials that are missing or refused; else an empty text."""
    refused = isinstance(error, PermissionError)
    if not is_refused(error) or (refused and "://" not in path):
        return ""
    scheme = path.partition("://")[0].lower()
    variables = _CREDENTIALS.get(scheme, "the variables of its package")
    return (
        f". {'Give other' if refused else 'Give'} credentials: {variables} in the environment, or "
        "daskpar.datastores.NAME with url and storage_options in Dask's configuration"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen and len(seen) < CHAIN_AT_MOST:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _by_damage(error: BaseException) -> Reach | None:
    damaged = any(kind.__name__ in DAMAGED_CLASSES for kind in type(error).__mro__)
    return Reach.UNREACHED if damaged else None


def _by_answer(error: BaseException) -> Reach | None:
    """By the answer of a store: the status of HTTP, or its own code for the error."""
    status, code = _answer(error)
    if code in UNREACHED_CODES:
        return Reach.UNREACHED
    if code in GONE_CODES or status in GONE_STATUSES:
        return Reach.GONE
    if status in UNREACHED_STATUSES or 500 <= status <= 599:
        return Reach.UNREACHED
    return Reach.OTHER if 400 <= status <= 499 else None


def _answer(error: BaseException) -> tuple[int, str]:
    """(status, code) of a store's answer, 0 and empty where there is none."""
    status: object = 0
    code: object = ""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):  # botocore
        said, about = answer.get("Error"), answer.get("ResponseMetadata")
        code = said.get("Code", "") if isinstance(said, Mapping) else ""
        status = about.get("HTTPStatusCode", 0) if isinstance(about, Mapping) else 0
    elif answer is not None:  # requests, azure
        status = getattr(answer, "status_code", 0)
    if not code:
        code = getattr(error, "error_code", "")  # azure
    for name in ("status", "status_code", "code"):  # aiohttp, azure, urllib and Google
        status = status or getattr(error, name, 0)
    number = int(status) if isinstance(status, int) or (isinstance(status, str) and status.isdecimal()) else 0
    words = str(getattr(code, "value", code) or "")
    if words.isdecimal():
        number = number or int(words)
    return number, words


def _by_class(error: BaseException) -> Reach | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & UNREACHED_CLASSES or isinstance(error, DataUnreached):
        return Reach.UNREACHED
    return Reach.GONE if names & GONE_CLASSES else None


def _by_errno(error: BaseException) -> Reach | None:
    number = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError) or number in GONE_ERRNOS:
        return Reach.GONE
    if isinstance(error, OSError) and number in UNREACHED_ERRNOS:
        return Reach.UNREACHED
    return None
