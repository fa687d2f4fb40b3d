"""What an error says of data that was to be read: gone, not reached, or neither."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

import pytest

from daskpar.data.reach import GONE_CODES, UNREACHED_CODES, UNREACHED_ERRNOS, Reach, reach_of, unreadable
from daskpar.errors import DataUnreached, InputError

GONE, UNREACHED, OTHER = Reach.GONE, Reach.UNREACHED, Reach.OTHER


def shaped(name: str, base: type[Exception] = Exception, **attributes: Any) -> Exception:
    """An error as a package raises it: of a class with this name, with these attributes."""
    error = type(name, (base,), {})(name)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def of_botocore(code: str, status: int) -> Exception:
    return shaped(
        "ClientError", response={"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    )


class Answer:
    """A response of `requests` or of Azure's core."""

    def __init__(self, status: int) -> None:
        self.status_code = status


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


CASES = [
    # Python's own, as local files and sockets raise them
    (FileNotFoundError(errno.ENOENT, "no such file"), GONE),
    (os_error(errno.ENOTDIR), GONE),
    (os_error(errno.EACCES), OTHER),
    (os_error(errno.EISDIR), OTHER),
    (os_error(errno.ENAMETOOLONG), OTHER),
    (os_error(errno.EMFILE), OTHER),
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), UNREACHED),
    (ConnectionResetError(), UNREACHED),
    (TimeoutError(), UNREACHED),
    (socket.gaierror(-2, "Name or service not known"), UNREACHED),
    (ssl.SSLError(1, "certificate"), UNREACHED),
    (ValueError("a bad value"), OTHER),
    (KeyError("status"), OTHER),
    (MemoryError(), OTHER),
    # botocore
    (of_botocore("NoSuchKey", 404), GONE),
    (of_botocore("404", 404), GONE),
    (of_botocore("NoSuchBucket", 404), GONE),
    (of_botocore("SlowDown", 503), UNREACHED),
    (of_botocore("503", 503), UNREACHED),
    (of_botocore("RequestTimeout", 400), UNREACHED),
    (of_botocore("ExpiredToken", 400), UNREACHED),
    (of_botocore("InvalidAccessKeyId", 403), UNREACHED),
    (of_botocore("403", 403), UNREACHED),
    (of_botocore("InvalidRange", 416), OTHER),
    (of_botocore("PreconditionFailed", 412), OTHER),
    (shaped("NoCredentialsError"), UNREACHED),
    (shaped("EndpointConnectionError", type("ConnectionError", (Exception,), {})), UNREACHED),
    (shaped("ReadTimeoutError", type("HTTPClientError", (Exception,), {})), UNREACHED),
    (shaped("ParamValidationError"), OTHER),
    # aiohttp
    (shaped("ClientResponseError", status=404), GONE),
    (shaped("ClientResponseError", status=429), UNREACHED),
    (shaped("ClientResponseError", status=502), UNREACHED),
    (shaped("ClientResponseError", status=400), OTHER),
    (shaped("ServerDisconnectedError", type("ClientConnectionError", (Exception,), {})), UNREACHED),
    (shaped("ClientPayloadError"), UNREACHED),
    # requests, urllib
    (shaped("HTTPError", response=Answer(404)), GONE),
    (shaped("HTTPError", response=Answer(500)), UNREACHED),
    (shaped("HTTPError", code=410), GONE),
    (shaped("HTTPError", code=408), UNREACHED),
    # Google: its own, and gcsfs', whose code may be a text
    (shaped("NotFound", code=404), GONE),
    (shaped("HttpError", code=503), UNREACHED),
    (shaped("HttpError", code="401"), UNREACHED),
    (shaped("DefaultCredentialsError", type("GoogleAuthError", (Exception,), {})), UNREACHED),
    (shaped("RetryError"), UNREACHED),
    # Azure
    (shaped("ResourceNotFoundError", status_code=404, error_code="BlobNotFound"), GONE),
    (shaped("ResourceNotFoundError"), GONE),
    (shaped("HttpResponseError", status_code=503, error_code="ServerBusy"), UNREACHED),
    (shaped("HttpResponseError", response=Answer(500)), UNREACHED),
    (shaped("HttpResponseError", status_code=409), OTHER),
    (shaped("ClientAuthenticationError", status_code=401), UNREACHED),
    (shaped("ServiceRequestError"), UNREACHED),
    # fsspec
    (shaped("FSTimeoutError", TimeoutError), UNREACHED),
    (DataUnreached("an error of ours"), UNREACHED),
    (InputError("an error of ours"), OTHER),
]


@pytest.mark.parametrize(("error", "expected"), CASES, ids=lambda case: repr(case)[:60])
def test_what_an_error_says(error: BaseException, expected: Reach) -> None:
    assert reach_of(error) is expected


@pytest.mark.parametrize("number", sorted(UNREACHED_ERRNOS))
def test_numbers_of_the_system(number: int) -> None:
    assert reach_of(os_error(number)) is UNREACHED


@pytest.mark.parametrize("code", sorted(UNREACHED_CODES))
def test_codes_of_a_store_count_before_the_status(code: str) -> None:
    assert reach_of(of_botocore(code, 400)) is UNREACHED


@pytest.mark.parametrize("code", sorted(GONE_CODES))
def test_codes_of_what_is_gone(code: str) -> None:
    assert reach_of(of_botocore(code, 0)) is GONE


@pytest.mark.parametrize("status", [500, 599])
def test_all_from_500_to_599(status: int) -> None:
    assert reach_of(shaped("SomeError", status=status)) is UNREACHED


@pytest.mark.parametrize("status", [399, 600, 0, 200])
def test_what_is_no_error_of_http_says_nothing(status: int) -> None:
    assert reach_of(shaped("SomeError", status=status)) is OTHER


def chained(outer: BaseException, cause: BaseException) -> BaseException:
    try:
        raise outer from cause
    except BaseException as error:
        return error


def test_the_answer_of_a_store_counts_before_what_a_package_made_of_it() -> None:
    # s3fs makes EBUSY of 503, and PermissionError of 403
    assert reach_of(chained(PermissionError(errno.EACCES, "Forbidden"), of_botocore("403", 403))) is UNREACHED
    assert reach_of(chained(os_error(errno.EINVAL), of_botocore("RequestTimeout", 400))) is UNREACHED
    assert reach_of(chained(os_error(errno.EIO), of_botocore("NoSuchKey", 404))) is GONE


def test_an_answer_that_came_damaged_is_none() -> None:
    # as aiohttp raises them: the status is that of its own parser, and not of a store
    short = shaped("ContentLengthError", type("HttpProcessingError", (Exception,), {"code": 400}))
    assert reach_of(chained(shaped("ClientPayloadError"), short)) is UNREACHED
    assert reach_of(chained(shaped("ClientResponseError", status=400), short)) is UNREACHED
    payload = chained(OSError("ClientPayloadError: …"), chained(shaped("ClientPayloadError"), short))
    assert reach_of(payload) is UNREACHED
    assert type(unreadable("s3://box/a", payload)) is DataUnreached
    # a checksum that does not fit the bytes that came
    assert reach_of(chained(OSError("…"), shaped("FlexibleChecksumError"))) is UNREACHED
    assert reach_of(shaped("ResponseParserError")) is UNREACHED


def test_the_error_behind_an_error_counts() -> None:
    assert (
        reach_of(
            chained(OSError("EndpointConnectionError: …"), shaped("EndpointConnectionError", ConnectionError))
        )
        is UNREACHED
    )


def test_an_error_that_was_handled_says_nothing() -> None:
    try:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise ValueError("a bad value") from None
    except ValueError as error:
        assert reach_of(error) is OTHER


def test_a_circle_of_errors_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert reach_of(first) is OTHER


def test_a_file_that_can_not_be_read() -> None:
    assert type(unreadable("/d/a.csv", os_error(errno.EACCES))) is InputError
    assert type(unreadable("/d/a.csv", os_error(errno.ENOENT))) is InputError
    error = unreadable("/d/a.csv", os_error(errno.ESTALE))
    assert type(error) is DataUnreached and str(error).startswith("/d/a.csv can't be read: Stale")


def test_an_error_that_lists_all_that_was_tried_is_cut() -> None:
    found = str(unreadable("hdfs://a/b", OSError("no libjvm\n" + "dlopen failed\n" * 1000)))
    assert found == "hdfs://a/b can't be read: no libjvm …"
