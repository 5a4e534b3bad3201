"""Backups in a bucket of an S3-compatible store, with credentials of the environment alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from xml.sax.saxutils import escape

import pytest
from aiohttp import web
from pydantic import ValidationError

from activities import backup_store
from activities.backup_store import LATEST, BackupStore
from fulgurite.errors import BackupError
from nodes.config import LndConfig
from tests.properties.clock import EPOCH

SECRET = "a-secret-key-of-the-store"


class Bucket:
    """What of S3 the store uses: put, get, list and delete, of signed requests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.authorizations: list[str] = []
        self.refuses = False

    async def answer(self, request: web.Request) -> web.Response:
        self.authorizations.append(request.headers.get("authorization", ""))
        key = request.path.removeprefix("/backups").lstrip("/")
        if self.refuses:
            return web.Response(status=403, text=_error("AccessDenied"))
        if request.method == "PUT":
            self.objects[key] = await request.read()
            return web.Response(headers={"etag": '"1"'})
        if request.method == "POST":
            text = await request.text()
            for name in re.findall("<Key>(.*?)</Key>", text):
                self.objects.pop(name, None)
            return web.Response(text="<DeleteResult></DeleteResult>")
        if "list-type" in request.query:
            return web.Response(text=self._listed(request.query.get("prefix", "")))
        if key not in self.objects:
            return web.Response(status=404, text=_error("NoSuchKey"))
        headers = {"etag": '"1"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        return web.Response(body=self.objects[key], headers=headers)

    def _listed(self, prefix: str) -> str:
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>1</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, body in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"


def _error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>"


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bucket]:
    bucket = Bucket()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", bucket.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    monkeypatch.setenv("AWS_ENDPOINT", f"http://{address[0]}:{address[1]}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "operator")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    yield bucket
    await runner.cleanup()


async def test_a_backup_is_kept_under_the_prefix_and_signed(bucket: Bucket) -> None:
    kept, place = await BackupStore("s3://backups/lnd", "alice").keep(b"a backup", EPOCH)

    assert (kept, place) == (b"a backup", f"alice/{LATEST}")
    assert bucket.objects[f"lnd/alice/{LATEST}"] == b"a backup"
    assert len(bucket.objects) == 2
    assert all(each.startswith("AWS4-HMAC-SHA256") for each in bucket.authorizations)
    assert not any(SECRET in each for each in bucket.authorizations)


async def test_the_oldest_of_very_many_go(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_store, "KEPT", 2)
    store = BackupStore("s3://backups/lnd", "alice")
    for number in range(4):
        await store.keep(f"{number}".encode(), EPOCH + timedelta(seconds=number))

    assert sorted(set(bucket.objects.values())) == [b"2", b"3"]


async def test_a_store_that_refuses_says_so_in_a_line_and_without_its_secrets(
    bucket: Bucket,
) -> None:
    bucket.refuses = True
    with pytest.raises(BackupError) as raised:
        await BackupStore("s3://backups/lnd", "alice").keep(b"a backup", EPOCH)

    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@backups/lnd",
        "s3://backups/lnd?aws_secret_access_key=x",
        "s3://",
        "file://elsewhere/folder",
        "relative/folder",
        "https://example.com/backups",
    ],
)
def test_a_url_with_credentials_or_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        LndConfig.model_validate(
            {"network": "regtest", "tls_cert_path": "tls.cert", "channel_backup_url": url}
        )
