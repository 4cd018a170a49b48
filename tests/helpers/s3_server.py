"""A real S3-compatible server on loopback, with one bucket: `s3://shared`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

BUCKET = "s3://shared"


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server; the environment names it. Yields its address `http://HOST:PORT`."""
    server_of = pytest.importorskip("moto.server").ThreadedMotoServer
    s3fs = pytest.importorskip("s3fs")
    from brmrs.store.shared.address import opened

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_of(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with mock.patch.dict(os.environ, values):
        forget(s3fs)
        opened.cache_clear()
        files = s3fs.S3FileSystem(skip_instance_cache=True)
        if not files.exists("shared"):  # the content outlives the server, within a process
            files.mkdir("shared")
        try:
            yield values["AWS_ENDPOINT_URL"]
        finally:
            forget(s3fs)
            opened.cache_clear()
            server.stop()


def forget(s3fs: Any) -> None:
    """Drop open connections, which would lead to the server of another test."""
    s3fs.S3FileSystem.clear_instance_cache()
