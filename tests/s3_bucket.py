"""A real S3 server on this machine, with one bucket, that tests fill, count the requests to, stop and start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ACCOUNT = "123456789012"


class Bucket:
    """The bucket `box`; it keeps its objects while the server is stopped."""

    def __init__(self) -> None:
        from moto.s3.models import s3_backends

        reset_objects()
        self.port = 0
        self.requests: Counter[str] = Counter()
        """`GET list`, `GET object`, `HEAD object` and so on -> how many came."""
        self.refusals = 0
        """How many more requests for an object are answered with 503, SlowDown."""
        self._store = s3_backends[ACCOUNT]["aws"]
        self._store.create_bucket("box", "us-east-1")
        self.start()

    @property
    def endpoint(self) -> str:
        """Where the server is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, where it was before."""
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """Stop the server: connections are refused from then on."""
        self._server.stop()

    def put(self, key: str, content: bytes, tag: str | None = None) -> None:
        """Write an object; `tag`: its entity tag, where that is not the MD5 of its bytes."""
        self._store.put_object("box", key, content, etag=tag)

    def objects(self, below: str) -> dict[str, bytes]:
        """The objects whose keys begin so: the rest of the key, and the content."""
        keys = self._store.buckets["box"].keys
        return {key.removeprefix(below): keys[key].value for key in list(keys) if key.startswith(below)}

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._store.delete_object("box", key)


def reset_objects() -> None:
    """Forget all objects: they outlive a server, and other tests have theirs."""
    from moto.moto_api._internal.models import moto_api_backend

    moto_api_backend.reset()


def in_configuration(patch: pytest.MonkeyPatch, bucket: Bucket) -> dict[str, Any]:
    """Where the bucket is and its credentials are in Dask's configuration alone, as those of the datastore
    `lake`; its storage options.
    """
    import dask

    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    patch.setenv("HOME", "/nowhere")  # nor has it a file of credentials
    options = {"key": "x", "secret": "very-secret", "endpoint_url": bucket.endpoint}
    stores = {"lake": {"url": "s3://box", "storage_options": options}}
    patch.setitem(dask.config.config, "daskpar", {"datastores": stores})
    return options


@contextmanager
def s3_bucket(patch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, and credentials for it in the environment."""
    pytest.importorskip("moto.server", reason="moto is not installed: pip install 'daskpar[test]'")
    import fsspec
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication

    bucket = Bucket()
    called = DomainDispatcherApplication.__call__

    def counted(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"].strip("/")
        what = "object" if "/" in path else "list" if "list-type" in environ["QUERY_STRING"] else "bucket"
        if bucket.refusals and what == "object" and environ["REQUEST_METHOD"] == "GET":
            bucket.refusals -= 1
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [
                b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            ]
        bucket.requests[f"{environ['REQUEST_METHOD']} {what}"] += 1
        return called(self, environ, start_response)

    patch.setattr("daskpar.datastores._known", {})
    patch.setattr(DomainDispatcherApplication, "__call__", counted)
    for name, value in {
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        patch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()  # an earlier test's server has another port
    try:
        yield bucket
    finally:
        bucket.stop()
        reset_objects()
        fsspec.filesystem("s3").clear_instance_cache()
