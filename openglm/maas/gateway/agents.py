"""Agents over HTTP: invoked at once, streamed, or later; their conversations shown and deleted.

An agent is a chat with instructions: it goes the road of chats, pays like one, and is limited like one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import BaseRoute, Route

from openglm.asgi.events import streamed
from openglm.dialects import zhipu
from openglm.dialects.zhipu import AgentCall, AgentChunks, AgentObject
from openglm.errors import Conflict, InvalidRequest, NotFound, RequestTooLarge
from openglm.maas.agents.agents import model_of
from openglm.maas.gateway.endpoint import Endpoint, json_response, wrapped
from openglm.maas.gateway.exchange import Exchange, Step
from openglm.maas.gateway.generation import whole
from openglm.maas.gateway.loop import Loop, open_answer
from openglm.maas.gateway.surfaces import ZHIPU
from openglm.maas.gateway.tools import question_of, with_findings
from openglm.maas.tasks.tasks import AGENTS
from openglm.messages import ChatRequest, Message

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from openglm.maas.agents import Agent
    from openglm.maas.database import Transaction
    from openglm.maas.gateway.call import Call
    from openglm.maas.platform import Platform

BASES = ("/api/v1/agents", "/api/paas/v4/v1/agents")  # documented, and where the official SDKs post
MOST_TURNS = 500  # of a conversation that goes on
MAX_TURN = 1 << 20  # bytes of what a user says in one that is remembered


def routes(platform: Platform) -> list[BaseRoute]:
    handlers = AgentHandlers(platform)
    found: list[BaseRoute] = []
    for base in BASES:
        found += [
            Route(base + path, Endpoint(platform, ZHIPU, "agents", handler), methods=["POST"])
            for path, handler in (
                ("", handlers.invoke),
                ("/async-result", handlers.result),
                ("/conversation", handlers.conversation),
            )
        ]
        found += [
            Route(base, wrapped(platform, ZHIPU, handlers.list), methods=["GET"]),
            Route(base + "/conversation/{id}", wrapped(platform, ZHIPU, handlers.delete), methods=["DELETE"]),
        ]
    return found


class AgentHandlers:
    def __init__(self, platform: Platform):
        self._platform = platform

    async def invoke(self, call: Call) -> ASGIApp:
        asked = await call.read(zhipu.decode_agent)
        agent = self._platform.agents.get(asked.agent_id)
        if agent.later or asked.later:
            return await self._later(call, agent, asked)
        answer, opening = await begin(self._platform, call, agent, asked)
        if asked.stream:
            return await streamed(opening, AgentChunks(answer), among=self._platform.streams)
        return json_response((await whole(await opening, answer)).body())

    async def result(self, call: Call) -> ASGIApp:
        agent_id, task_id = await call.read(zhipu.decode_agent_result)
        task = await self._platform.tasks.get(call.caller, task_id)
        if task.endpoint != AGENTS:
            raise NotFound(
                f"{task_id[:80]!r} is no answer of an agent", hint="GET async-result/{id} shows it"
            )
        answer = None if task.answer is None else msgspec.json.decode(task.answer)
        return json_response(zhipu.encode_agent_task(agent_id, task.id, task.state, answer))

    async def conversation(self, call: Call) -> ASGIApp:
        agent_id, conversation_id = await call.read(zhipu.decode_agent_conversation)
        agent = self._platform.agents.get(agent_id)
        turns = await self._platform.conversations.turns(call.caller.org_id, agent.id, conversation_id)
        shown = [[*turn.asked, *turn.answered] for turn in turns]
        return json_response(zhipu.encode_conversation(agent.id, conversation_id, shown))

    async def list(self, request: Request) -> Response:
        await self._platform.caller(request, endpoint="agents")
        return json_response(
            {"object": "list", "data": [agent.shown() for agent in self._platform.agents.all()]}
        )

    async def delete(self, request: Request) -> Response:
        caller = await self._platform.caller(request, endpoint="agents")
        conversation_id = request.path_params["id"]
        await self._platform.conversations.delete(caller.org_id, conversation_id)
        return json_response({"conversation_id": conversation_id, "deleted": True})

    async def _later(self, call: Call, agent: Agent, asked: AgentCall) -> ASGIApp:
        """Take it in now, answer it as an errand."""
        chat = await chat_of(self._platform, call, agent, asked)  # what is wrong with it is said now
        asked = await in_conversation(self._platform, call, agent, asked)
        more = {"conversation_id": asked.conversation_id, "model": chat.model}
        body = msgspec.json.encode({**await call.read(msgspec.json.decode), **more})
        task = await self._platform.tasks.submit(call.caller, body, AGENTS)
        return json_response(
            zhipu.encode_agent_task(agent.id, task.id, task.state, conversation_id=asked.conversation_id)
        )


async def in_conversation(platform: Platform, call: Call, agent: Agent, asked: AgentCall) -> AgentCall:
    """An agent that remembers begins a conversation where none is named."""
    if asked.conversation_id or not agent.remembers:
        return asked
    return replace(asked, conversation_id=await platform.conversations.open(call.caller.org_id, agent.id))


async def chat_of(platform: Platform, call: Call, agent: Agent, asked: AgentCall) -> ChatRequest:
    """The agent's instructions, what was said before, and what is asked now, as a chat."""
    told = agent.told(asked.variables)
    earlier: list[Message] = []
    if agent.remembers and len(call.body) > MAX_TURN:
        raise RequestTooLarge(f"a turn that is remembered must be at most {MAX_TURN} bytes")
    if asked.conversation_id:
        if not agent.remembers:
            raise InvalidRequest(
                f"the agent {agent.id} remembers no conversations",
                param="conversation_id",
                code="invalid_value",
            )
        turns = await platform.conversations.turns(call.caller.org_id, agent.id, asked.conversation_id)
        if len(turns) >= MOST_TURNS:
            raise Conflict(f"the conversation has {MOST_TURNS} turns", hint="start a new one")
        for turn in turns:
            earlier += zhipu.agent_messages(turn.asked)
            earlier.append(Message.of("assistant", turn.text))
    return ChatRequest(
        model_of(agent, asked.model, platform.models_of(call.caller)),
        (Message.of("system", told), *earlier, *asked.messages),
        sampling=agent.sampling,
        chosen=agent.chosen,
        thinking=agent.thinking,
        stream=asked.stream,
        include_usage=True,
    )


@dataclass
class Turn:
    """One turn under way. Iterated to its end, it is kept with its bill before anybody hears of the end: who
    goes on with the conversation at once finds it."""

    exchange: Exchange | Loop
    keep: Callable[[], Callable[[Transaction], None]] | None

    async def __aiter__(self) -> AsyncIterator[Step]:
        async for step in self.exchange:
            yield step
        if self.keep:
            self.exchange.keep(self.keep())
            settling = self.exchange.close()
            if settling:
                await asyncio.shield(settling)

    def close(self) -> object:
        return self.exchange.close()


async def begin(
    platform: Platform,
    call: Call,
    agent: Agent,
    asked: AgentCall,
    *,
    also: Callable[[AgentObject], Callable[[Transaction], None]] | None = None,
) -> tuple[AgentObject, Coroutine[Any, Any, Turn]]:
    """An answer that is empty yet, and what admits and starts the turn that will fill it. `also` makes of the
    answer what else its bill's transaction writes."""
    chat = await chat_of(platform, call, agent, asked)
    asked = await in_conversation(platform, call, agent, asked)
    request = zhipu.ZhipuRequest(chat, asked.request_id, tools=agent.tools)
    chat, hits = await with_findings(platform, call, request, agents=True)
    answer = AgentObject(
        agent.id,
        conversation_id=asked.conversation_id,
        request_id=asked.request_id,
        query=question_of(request.chat)[:1000] if hits else "",
        hits=hits,
    )

    def keep() -> Callable[[Transaction], None]:
        works = [also(answer)] if also else []
        if asked.conversation_id:
            said = (zhipu.encode_turn(asked.messages), answer.messages, answer.text)
            works.append(platform.conversations.added(asked.conversation_id, *said))

        def write(transaction: Transaction) -> None:
            for work in works:
                work(transaction)

        return write

    async def opened() -> Turn:
        exchange = await open_answer(
            platform,
            call,
            chat,
            agent.tools.mcp,
            client_request_id=asked.request_id,
            affinity=asked.conversation_id,
            judged=True,
        )
        return Turn(exchange, keep if also or asked.conversation_id else None)

    return answer, opened()
