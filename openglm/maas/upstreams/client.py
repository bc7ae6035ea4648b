"""HTTP to model servers: one pool of connections for each address, bodies of bytes in both directions.

Errors of the network and of the server become ours here; nothing is retried here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from array import array
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec

from openglm.dialects.openai.bodies import chat_body, completion_body, embedding_body, tokenize_body
from openglm.dialects.openai.images import ImageAnswer, Picture, decode_image_answer, image_body
from openglm.dialects.openai.upstream import (
    COUNTS_ALL,
    UpstreamEvents,
    decode_count,
    decode_embeddings,
    decode_upstream_error,
)
from openglm.errors import LATER, InvalidRequest, NotOffered, OpenGLMError, UpstreamFailure
from openglm.maas.upstreams.answer import LEAVE_S, Abandoned, UpstreamAnswer
from openglm.maas.upstreams.channel import Channel
from openglm.messages import ChatRequest, CompletionRequest, EmbeddingRequest, ImageRequest

logger = logging.getLogger(__name__)

CONNECT_S = 5.0
SILENT_S = 600.0  # between two pieces of an answer; a long prompt is read before the first
MAX_ANSWER = 256 * 2**20  # bytes of an answer that comes whole, such as embeddings
MAX_IMAGE = 32 * 2**20  # bytes of one


class ModelCard(msgspec.Struct, frozen=True):
    """What a model can do, as its server tells; None: it does not say."""

    id: str
    max_model_len: int | None = None
    thinks: bool | None = None
    sees_images: bool | None = None


class _Cards(msgspec.Struct):
    data: list[ModelCard] = []


class Client:
    """Open it on the loop that uses it, and close it at the end."""

    def __init__(self) -> None:
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def stream(
        self, channel: Channel, request: ChatRequest | CompletionRequest, request_id: str
    ) -> UpstreamAnswer:
        """Ask for an answer; its first step is there when this returns. Whoever holds it must leave it.

        Raises Abandoned, a CancelledError, if nobody waits any more for what may have begun.
        """
        if isinstance(request, ChatRequest):
            path, prompts = "/v1/chat/completions", 1
            body = chat_body(request, channel.wire_name(request.model), extensions=channel.extensions)
        else:
            path, prompts = "/v1/completions", len(request.prompts)
            body = completion_body(request, channel.wire_name(request.model), extensions=channel.extensions)
        choices = (request.n, prompts)
        asking = asyncio.ensure_future(self._begin(channel, path, body, request_id, choices))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            if channel.leaving == "abort" and not asking.done():
                asking.cancel()
                raise
            # The server may have begun. Its answer is left in order, so that nothing it wrote is lost.
            with contextlib.suppress(OpenGLMError, TimeoutError):
                if channel.leaving == "cancel" and not asking.done():
                    await self._abort(channel, request_id)
                answer = await asyncio.wait_for(asking, LEAVE_S)
                await answer.leave()
                raise Abandoned(answer) from None
            raise

    async def _begin(
        self, channel: Channel, path: str, body: bytes, request_id: str, choices: tuple[int, int]
    ) -> UpstreamAnswer:
        response = await self._post(channel, path, body, request_id)
        events = UpstreamEvents(*choices, counts_all=COUNTS_ALL in response.headers)
        answer = UpstreamAnswer(response, channel, lambda: self._abort(channel, request_id), events)
        try:
            await answer.begin()
        except BaseException:
            await answer.leave()
            raise
        return answer

    async def embed(
        self, channel: Channel, request: EmbeddingRequest, request_id: str
    ) -> tuple[list[array[float]], int]:
        """The vectors, in order, and the prompt's tokens."""
        body = embedding_body(request, channel.wire_name(request.model))
        answer = await self._whole(channel, "/v1/embeddings", body, request_id)
        return decode_embeddings(answer, len(request.inputs))

    async def draw(self, channel: Channel, request: ImageRequest, request_id: str) -> ImageAnswer:
        """Images, with their bytes where the server sent them or keeps them at its own address."""
        name, path = channel.wire_name(request.model), "/v1/images/generations"
        try:
            body = await self._whole(channel, path, image_body(request, name), request_id)
        except InvalidRequest as error:
            if error.param != "response_format":
                raise
            body = await self._whole(
                channel, path, image_body(request, name, base64_wanted=False), request_id
            )
        answer = decode_image_answer(body, request.n)
        pictures = await asyncio.gather(*(self._picture(channel, one) for one in answer.pictures))
        return replace(answer, pictures=tuple(pictures))

    async def count_tokens(
        self, channel: Channel, request: ChatRequest | str, model: str, request_id: str
    ) -> int:
        """The tokens of a conversation as the model's prompt format renders it, or of a text.

        NotOffered: a server that cannot count, which is no fault of the model's name.
        """
        body = tokenize_body(request, channel.wire_name(model))
        response = await self._post(channel, "/tokenize", body, request_id, optional=True)
        return decode_count(await _read(response, MAX_ANSWER))

    async def load_adapter(self, channel: Channel, name: str, folder: Path) -> None:
        """Let a server of ours answer to one more name, with the adapter in a folder of this machine."""
        body = msgspec.json.encode({"lora_name": name, "lora_path": str(folder)})
        await self._whole(channel, "/v1/load_lora_adapter", body, "adapter")

    async def unload_adapter(self, channel: Channel, name: str) -> None:
        body = msgspec.json.encode({"lora_name": name})
        await self._whole(channel, "/v1/unload_lora_adapter", body, "adapter")

    async def card(self, channel: Channel, model: str) -> ModelCard | None:
        """What a server says of a model of its own; None where it says nothing that we read."""
        session, limit = self._session(channel), aiohttp.ClientTimeout(total=CONNECT_S)
        try:
            async with session.get(channel.url("/v1/models"), timeout=limit) as response:
                data = await response.read() if response.status == 200 else b"{}"
            cards = msgspec.json.decode(data, type=_Cards).data
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
            return None
        return next((card for card in cards if card.id == channel.wire_name(model)), None)

    async def healthy(self, channel: Channel) -> bool:
        """Whether the server answers its health check; a service that has none lists its models."""
        path = "/health" if channel.extensions else "/v1/models"
        headers = {"authorization": f"Bearer {channel.api_key}"} if channel.api_key else {}
        try:
            async with self._session(channel).get(
                channel.url(path), headers=headers, timeout=aiohttp.ClientTimeout(total=CONNECT_S)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _abort(self, channel: Channel, request_id: str) -> None:
        body = b'{"request_id":"%b"}' % request_id.encode()
        response = await self._post(channel, "/abort", body, request_id)
        response.close()

    async def _whole(self, channel: Channel, path: str, body: bytes, request_id: str) -> bytes:
        return await _read(await self._post(channel, path, body, request_id), MAX_ANSWER)

    async def _picture(self, channel: Channel, picture: Picture) -> Picture:
        """One that lies on the model's own server is fetched the way that server is asked, which may be
        private; addresses elsewhere are strangers' to us and stay as they are."""
        if not picture.url or not _same_server(picture.url, channel.base_url):
            return picture
        headers = {"authorization": f"Bearer {channel.api_key}"} if channel.api_key else {}
        try:
            response = await self._session(channel).get(picture.url, headers=headers, allow_redirects=False)
            data = await _read(response, MAX_IMAGE)
        except (aiohttp.ClientError, OSError, TimeoutError, UpstreamFailure) as error:
            logger.warning("an image of channel %s could not be fetched: %s", channel.id, error)
            return replace(picture, url=None)
        return replace(picture, url=None, data=data if response.status == 200 else None)

    async def _post(
        self, channel: Channel, path: str, body: bytes, request_id: str, *, optional: bool = False
    ) -> aiohttp.ClientResponse:
        headers = {"content-type": "application/json", "x-request-id": request_id}
        if channel.api_key:
            headers["authorization"] = f"Bearer {channel.api_key}"
        try:
            response = await self._session(channel).post(
                channel.url(path), data=body, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UpstreamFailure("the model's server cannot be reached", hint=LATER) from error
        if response.status == 200:
            return response
        try:
            answer = await response.content.read(2**20)
        except (aiohttp.ClientError, OSError, TimeoutError):
            answer = b""
        finally:
            response.close()
        if optional and response.status in (404, 405, 501):
            raise NotOffered(f"the model's server has no {path}")
        raise decode_upstream_error(response.status, answer)

    def _session(self, channel: Channel) -> aiohttp.ClientSession:
        session = self._sessions.get(channel.socket)
        if session is None:
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(channel.socket, limit=0)
                if channel.socket
                else aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
            session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
            self._sessions[channel.socket] = session
        return session


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body, of at most so many bytes."""
    data = bytearray()
    try:
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > most:
                raise UpstreamFailure(f"the model's server sent more than {most} bytes")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UpstreamFailure("the model's server broke off its answer", hint=LATER) from error
    finally:
        response.release()
    return bytes(data)


def _same_server(url: str, base_url: str) -> bool:
    try:
        one, other = urlsplit(url), urlsplit(base_url)
        return (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
    except ValueError:
        return False
