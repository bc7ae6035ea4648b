"""Files: what comes in comes out, to its owner only, under a name that harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from openglm.errors import InvalidRequest, NotFound, OpenGLMError, RequestTooLarge
from openglm.maas.blobs import open_blobs
from openglm.maas.database import Database
from openglm.maas.files import Files
from openglm.maas.files import files as limits
from openglm.maas.files import routes as handlers
from openglm.maas.files.files import safe_name
from openglm.maas.files.routes import disposition, routes

ANNE = SimpleNamespace(org_id="org_a", project_id="proj_a")
BOB = SimpleNamespace(org_id="org_b", project_id="proj_b")


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture
def files(database: Database, tmp_path: Path) -> Files:
    return Files(
        database, open_blobs(tmp_path / "blobs"), clock=iter(range(1_000_000, 9_000_000, 1000)).__next__
    )


async def whole(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


def test_a_file_comes_back_as_it_was_sent(files: Files) -> None:
    async def go() -> None:
        file = await files.upload(ANNE, "数据.jsonl", "batch", chunks(b"ab", b"cd"))
        assert file.wire()["filename"] == "数据.jsonl"
        assert file.wire()["bytes"] == 4
        assert file.wire()["status"] == "processed"
        found, stream = await files.content(ANNE, file.id)
        assert (found, await whole(stream)) == (file, b"abcd")
        assert await files.part(ANNE, file.id, 1, 2) == b"bc"

    asyncio.run(go())


def test_nobody_else_can_see_read_or_delete_a_file(files: Files) -> None:
    async def go() -> None:
        file = await files.upload(ANNE, "a.txt", "user_data", chunks(b"secret"))
        other_project = SimpleNamespace(org_id="org_a", project_id="proj_other")
        for stranger in (BOB, other_project):
            for call in (files.get, files.content, files.delete):
                with pytest.raises(NotFound):
                    await call(stranger, file.id)
            with pytest.raises(NotFound):
                await files.part(stranger, file.id, 0, 1)
            assert (await files.list(stranger)).files == []
        assert await files.get(ANNE, file.id) == file

    asyncio.run(go())


def test_a_list_goes_page_by_page_in_both_orders(files: Files) -> None:
    async def go() -> None:
        made = [
            (await files.upload(ANNE, f"{n}.txt", "batch" if n % 2 else "agent", chunks(b"x"))).id
            for n in range(5)
        ]
        page = await files.list(ANNE, limit=2)
        assert ([file.id for file in page.files], page.has_more) == (made[:2:-1], True)
        page = await files.list(ANNE, limit=3, after=page.files[-1].id)
        assert ([file.id for file in page.files], page.has_more) == (made[2::-1], False)
        page = await files.list(ANNE, order="asc", limit=4, after=made[0])
        assert [file.id for file in page.files] == made[1:]
        assert [file.id for file in (await files.list(ANNE, purpose="batch")).files] == [made[3], made[1]]
        for wrong in ({"limit": 0}, {"order": "up"}, {"after": "x\0"}, {"purpose": "\0"}):
            with pytest.raises(InvalidRequest):
                await files.list(ANNE, **wrong)

    asyncio.run(go())


def test_a_deleted_file_is_gone_with_its_content(files: Files, tmp_path: Path) -> None:
    async def go() -> None:
        file = await files.upload(ANNE, "a.txt", "batch", chunks(b"x"))
        await files.delete(ANNE, file.id)
        for call in (files.get, files.content, files.delete):
            with pytest.raises(NotFound):
                await call(ANNE, file.id)

    asyncio.run(go())
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_an_upload_past_its_limit_leaves_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.MAX_BYTES_OF, "batch", 10)

    async def go() -> None:
        with pytest.raises(RequestTooLarge):
            await files.upload(ANNE, "a", "batch", chunks(b"x" * 6, b"x" * 6))
        with pytest.raises(InvalidRequest):
            await files.upload(ANNE, "a", "batch", chunks())
        with pytest.raises(InvalidRequest):
            await files.upload(ANNE, "a", "batch_output", chunks(b"x"))
        assert (await files.list(ANNE)).files == []

    asyncio.run(go())
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "wrong", ["../../etc/passwd", "..%2f", "file_\0", "file_" + "A" * 26, "", "a/b", "file_" + "0" * 27]
)
def test_an_id_that_is_none_of_ours_is_not_found_and_touches_nothing(files: Files, wrong: str) -> None:
    for call in (files.get, files.content, files.delete):
        with pytest.raises(NotFound):
            asyncio.run(call(ANNE, wrong))


def test_blobs_refuse_names_that_we_did_not_make(tmp_path: Path) -> None:
    blobs = open_blobs(tmp_path / "blobs")
    for name in ("../x", "files/../../x", "/etc/passwd", "files/file_1", "files/file_" + "0" * 26 + "/.."):
        with pytest.raises(ValueError, match="blob's name"):
            asyncio.run(blobs.put(name, chunks(b"x"), max_bytes=9))
        with pytest.raises(ValueError, match="blob's name"):
            asyncio.run(blobs.delete(name))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\a.txt", "a.txt"),
        ('a"\r\nSet-Cookie: x=1', 'a"Set-Cookie: x=1'),
        ("\u202egnp.exe", "gnp.exe"),
        ("...", "file"),
        ("\0", "file"),
        ("x" * 300 + ".jsonl", "x" * 194 + ".jsonl"),
    ],
)
def test_a_name_is_the_last_part_without_tricks(given: str, kept: str) -> None:
    assert safe_name(given) == kept


def test_a_download_header_holds_any_name_on_one_ascii_line() -> None:
    header = disposition('数 "据"\\%.txt')
    assert header.isascii()
    assert "\n" not in header
    assert header.startswith('attachment; filename="_ __')
    assert header.endswith("filename*=UTF-8''%E6%95%B0%20%22%E6%8D%AE%22%5C%25.txt")


def app_of(files: Files):
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse

    async def caller(request, endpoint):
        return ANNE if request.headers.get("authorization") == "Bearer anne" else BOB

    def wrap(dialect, handler):
        async def answer(request):
            try:
                return await handler(request)
            except OpenGLMError as error:
                return JSONResponse({"error": error.message, "kind": type(error).__name__}, 400)

        return answer

    return Starlette(routes=routes(SimpleNamespace(caller=caller, files=files), wrap))


@pytest.mark.parametrize("base", ["/v1/files", "/api/paas/v4/files"])
def test_the_routes_take_list_give_and_delete(files: Files, base: str) -> None:
    from starlette.testclient import TestClient

    client = TestClient(app_of(files), headers={"authorization": "Bearer anne"})
    made = client.post(base, files={"file": ("../a\u4e00.txt", b"hello")}, data={"purpose": "agent"}).json()
    assert made["filename"] == "a\u4e00.txt"
    assert client.get(base, params={"purpose": "agent"}).json()["data"] == [made]
    assert client.get(f"{base}/{made['id']}").json() == made
    content = client.get(f"{base}/{made['id']}/content")
    assert (content.content, content.headers["content-length"]) == (b"hello", "5")
    assert content.headers["x-content-type-options"] == "nosniff"
    stranger = TestClient(app_of(files), headers={"authorization": "Bearer bob"})
    for path in (f"{base}/{made['id']}", f"{base}/{made['id']}/content"):
        assert stranger.get(path).json()["kind"] == "NotFound"
    assert client.delete(f"{base}/{made['id']}").json() == {
        "id": made["id"],
        "object": "file",
        "deleted": True,
    }
    assert client.get(base).json()["data"] == []


def test_uploads_that_cannot_be_read_say_why(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    client = TestClient(app_of(files), headers={"authorization": "Bearer anne"})
    assert "multipart" in client.post("/v1/files", json={}).json()["error"]
    assert "file must be" in client.post("/v1/files", files={"other": b"x"}).json()["error"]
    assert "purpose" in client.post("/v1/files", files={"file": b"x"}).json()["error"]
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/files", content=b"--x\r\nbroken", headers=kind).json()["kind"] == "InvalidRequest"
    monkeypatch.setattr(handlers, "MAX_BYTES", 1000)
    big = client.post("/v1/files", files={"file": b"x" * 4_000_000}, data={"purpose": "agent"})
    assert big.json()["kind"] == "RequestTooLarge"
    assert client.get("/v1/files", params={"limit": "x"}).json()["kind"] == "InvalidRequest"
    assert client.get("/v1/files").json()["data"] == []
