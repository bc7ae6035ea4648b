"""One model's service: a request -> rendered prompt -> engine -> parsed steps. Knows no HTTP and no wire."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

from openglm.engine.request import EngineRequest
from openglm.errors import Conflict, EngineFailure, InvalidRequest, ModelNotFound, Overloaded
from openglm.messages import ChatRequest, CompletionRequest, EmbeddingRequest, Grammar, SamplingParams
from openglm.serve.answer import Answer, Choice
from openglm.serve.metrics import Metrics
from openglm.serve.readers import ChatReader, TextReader

if TYPE_CHECKING:
    from openglm.engine import Engine
    from openglm.tokenizer.chat import ChatFormat, Rendered
    from openglm.tokenizer.protocol import Tokenizer

LARGE_CHARS = 16_384  # more text than this is rendered and tokenised off the event loop
MAX_ANSWERS = 2048  # prompts x n of one completion request
PLAIN = SamplingParams()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What people are told about the model that answers."""

    name: str  # what requests call it
    title: str  # what people call it
    max_model_len: int  # tokens of prompt and answer together
    licence: str | None = None
    source: str | None = None
    owned_by: str = "openglm"
    thinks: bool = False  # before it answers
    sees_images: bool = False  # this engine reads text alone
    parent: str | None = None  # of a LoRA adapter: the name of the model that it changes


@dataclass(frozen=True, slots=True)
class Embeddings:
    vectors: list[array[float]]  # 32-bit floats of length 1 (L2)
    prompt_tokens: int


class Service:
    """Answers for one model, and for the LoRA adapters that are loaded over it.

    Without a `chat_format` it completes raw text and refuses chat.
    `aliases` are further names that it listens to; `sampling` is how tokens are chosen where a request does
    not say, usually what the model's makers recommend.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        chat_format: ChatFormat | None,
        model_name: str,
        *,
        title: str | None = None,
        licence: str | None = None,
        source: str | None = None,
        aliases: Sequence[str] = (),
        sampling: SamplingParams = PLAIN,
    ):
        self.engine = engine
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        thinks = chat_format is not None and chat_format.thinks
        self.card = ModelCard(
            model_name, title or model_name, engine.max_context, licence, source, thinks=thinks
        )
        self.sampling = sampling
        self.metrics = Metrics(engine.stats)
        self._names = (model_name, *aliases)
        self._adapters: Mapping[str, ModelCard] = {}  # replaced, never changed: other threads read it
        self._open: set[Answer] = set()
        self._stopping = False

    @property
    def cards(self) -> list[ModelCard]:
        """The model, and each adapter behind it."""
        return [self.card, *self._adapters.values()]

    def card_of(self, name: str | None) -> ModelCard:
        """The model or adapter of that name; an absent name means the model."""
        if not name or name in self._names:
            return self.card
        if card := self._adapters.get(name):
            return card
        served = ", ".join((*self._names, *self._adapters))
        raise ModelNotFound(f"the model {name!a} is not served here; served: {served}", param="model")

    def load_adapter(self, name: str, folder: Path) -> None:
        """Serve a LoRA adapter under a name of its own. Reads files: not for the event loop."""
        if name in self._names:
            raise Conflict(f"{name!a} is the model's own name", hint="call the adapter something else")
        self.engine.load_adapter(name, folder)
        card = replace(self.card, name=name, title=name, source=None, parent=self.card.name)
        self._adapters = {**self._adapters, name: card}

    def unload_adapter(self, name: str) -> None:
        """Its name is gone at once; answers in flight finish with it."""
        self.engine.unload_adapter(name)
        self._adapters = {other: card for other, card in self._adapters.items() if other != name}

    def _adapter(self, model: str) -> str | None:
        card = self.card_of(model)
        return None if card.parent is None else card.name

    def stop(self) -> None:
        """Refuse new requests and end the running ones: their streams finish with a Failure."""
        self._stopping = True
        for answer in tuple(self._open):
            answer.close()

    def cancel(self, name: str) -> bool:
        """End the running answers of that name early, with their whole usage. False: there are none."""
        named = [answer for answer in self._open if answer.name == name]
        for answer in named:
            answer.cancel()
        return bool(named)

    async def chat(self, request: ChatRequest, *, name: str = "") -> Answer:
        """Admit a chat request; what cannot be done is refused here, before anything is streamed."""
        self.card_of(request.model)
        return await self._start(
            lambda: self._chat_choices(request),
            request.continuous_usage,
            name,
            heavy=request.grammar is not None or is_large(request),
        )

    async def completion(self, request: CompletionRequest, *, name: str = "") -> Answer:
        """Admit a completion request. Choice p * n + i is answer i to prompt p."""
        self.card_of(request.model)
        if len(request.prompts) * request.n > MAX_ANSWERS:
            raise InvalidRequest(
                f"{len(request.prompts)} prompts x n = {request.n} ask for more than {MAX_ANSWERS} answers",
                param="n",
            )
        size = sum(map(len, request.prompts)) + len(request.suffix or "")
        return await self._start(
            lambda: self._completion_choices(request),
            request.continuous_usage,
            name,
            heavy=size > LARGE_CHARS or request.grammar is not None,
        )

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Mean over the final hidden states, cut to `dimensions` if asked, then scaled to length 1."""
        adapter = self._adapter(request.model)
        size = sum(map(len, request.inputs))
        prompts = await off_loop(
            size > LARGE_CHARS, lambda: [self.prompt_ids(text) for text in request.inputs]
        )
        jobs = [
            asyncio.create_task(
                self._pool(EngineRequest(ids, SamplingParams(max_tokens=1), pooling="mean", adapter=adapter))
            )
            for ids in prompts
        ]
        try:
            pooled = await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        vectors = [unit_vector(vector, request.dimensions) for vector in pooled]
        return Embeddings(vectors, sum(map(len, prompts)))

    async def render(self, request: ChatRequest, *, generate: bool) -> list[int]:
        """The prompt's token ids, as `chat` would send them to the engine."""
        return await off_loop(
            is_large(request),
            lambda: self._rendered(request, thinking=request.thinking, generate=generate).ids,
        )

    async def tokenize(self, text: str, *, add_bos: bool) -> list[int]:
        """The token ids of raw text."""
        return await off_loop(len(text) > LARGE_CHARS, lambda: self.prompt_ids(text, add_bos=add_bos))

    def prompt_ids(self, prompt: str | Sequence[int], *, add_bos: bool = True) -> list[int]:
        """A raw prompt as token ids; ids that the model does not have are refused."""
        if isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt)
            bos = self.tokenizer.bos_token_id
            return [bos, *ids] if add_bos and self.tokenizer.add_bos and bos is not None else ids
        vocab_size = self.tokenizer.vocab_size
        wrong = next((token_id for token_id in prompt if not 0 <= token_id < vocab_size), None)
        if wrong is not None:
            raise InvalidRequest(f"token ids must be below {vocab_size}, got {wrong}", param="prompt")
        return list(prompt)

    async def _start(
        self, choices: Callable[[], list[Choice]], continuous: bool, name: str, *, heavy: bool
    ) -> Answer:
        if self._stopping:
            raise Overloaded("the server is stopping")
        answer = Answer(
            self.engine,
            self.metrics,
            continuous_usage=continuous,
            name=name,
            on_close=self._open.discard,
        )
        self._open.add(answer)
        try:
            await off_loop(heavy, lambda: answer.start(choices()))
            if self._stopping:
                raise Overloaded("the server is stopping")
        except BaseException:  # a client that left while we rendered, too
            answer.close()
            raise
        return answer

    def _rendered(
        self, request: ChatRequest, *, thinking: bool | None = None, generate: bool = True
    ) -> Rendered:
        # "none" hides the tools: a model that cannot see them cannot call them.
        tools = () if request.tool_choice.mode == "none" else request.tools
        return self._format("messages").render(
            request.messages,
            tools=tools,
            thinking=thinking,
            keep_reasoning=request.keep_reasoning,
            generate=generate,
            options=request.template_options or None,
        )

    def _format(self, param: str) -> ChatFormat:
        if self.chat_format is None:
            raise InvalidRequest(
                f"{self.card.name} brings no prompt format for chat",
                param=param,
                code="no_chat_format",
                hint="it completes text: use /v1/completions",
            )
        return self.chat_format

    def _chat_choices(self, request: ChatRequest) -> list[Choice]:
        rendered = self._rendered(request, thinking=request.thinking)
        form = self._format("messages")
        tools = () if request.tool_choice.mode == "none" else request.tools
        sampling = request.sampling
        caller_stops = sampling.stop_token_ids
        if not sampling.ignore_eos:
            sampling = replace(sampling, stop_token_ids=tuple({*caller_stops, *form.stop_token_ids}))
        grammar = self._chat_grammar(request, rendered)
        adapter = self._adapter(request.model)
        return [
            Choice(
                EngineRequest(
                    rendered.ids,
                    seeded(sampling, i),
                    grammar,
                    cache_salt=request.cache_salt,
                    adapter=adapter,
                ),
                ChatReader(
                    form.parser(tools=tools, reasoning_open=rendered.reasoning_open),
                    self.tokenizer,
                    caller_stops=caller_stops,
                    reasoning_open=rendered.reasoning_open,
                    reasoning_end=form.reasoning_end_token,
                ),
            )
            for i in range(request.n)
        ]

    def _chat_grammar(self, request: ChatRequest, rendered: Rendered) -> Grammar | None:
        """The answer's grammar: that of a call if one is required; it begins where the reasoning ends."""
        form = self._format("messages")
        grammar = request.grammar
        if request.tool_choice.mode in ("required", "named"):
            grammar = form.call_grammar(request.tools, request.tool_choice, request.parallel_tool_calls)
            if grammar is None:
                raise InvalidRequest(
                    f"the prompt format {form.name} has no form for tool calls",
                    param="tool_choice",
                    hint="tool_choice auto or none works with every model",
                )
        if grammar is None or not self._will_reason(request, rendered):
            return grammar
        if form.reasoning_end_token is None:
            raise InvalidRequest(
                f"{self.card.name} thinks before it answers and marks the end with plain text, "
                "which no constraint can wait for",
                param="response_format",
                code="unsupported_combination",
                hint="ask without response_format and tool_choice, or with thinking disabled",
            )
        return replace(grammar, after_token=form.reasoning_end_token)

    def _will_reason(self, request: ChatRequest, rendered: Rendered) -> bool:
        """Whether the answer begins with reasoning: the prompt opened it, or it would look different if
        reasoning were off. A model whose prompt knows no such switch is taken at its word that it has none.
        """
        if rendered.reasoning_open or request.thinking is False:
            return rendered.reasoning_open
        if self._format("messages").reasoning_end_token is None:
            return False
        return rendered.ids != self._rendered(request, thinking=False).ids

    def _completion_choices(self, request: CompletionRequest) -> list[Choice]:
        sampling, adapter = request.sampling, self._adapter(request.model)
        return [
            Choice(
                EngineRequest(
                    ids,
                    seeded(sampling, i),
                    request.grammar,
                    prompt_logprobs=request.echo and sampling.logprobs is not None,
                    cache_salt=request.cache_salt,
                    adapter=adapter,
                ),
                TextReader(self.tokenizer, echo=self._echo(prompt) if request.echo else None),
                prompt=index,
            )
            for index, prompt in enumerate(request.prompts)
            for ids in [self._completion_ids(prompt, request.suffix)]
            for i in range(request.n)
        ]

    def _completion_ids(self, prompt: str | tuple[int, ...], suffix: str | None) -> list[int]:
        if suffix is None:
            return self.prompt_ids(prompt)
        if not isinstance(prompt, str):
            raise InvalidRequest("with suffix, prompt must be text", param="prompt")
        ids = self.chat_format.fill_in_middle(prompt, suffix) if self.chat_format else None
        if ids is None:
            raise InvalidRequest(
                f"{self.card.name} was not trained to fill in the middle",
                param="suffix",
                hint="leave suffix out, or serve a code model such as CodeGeeX4",
            )
        return ids

    def _echo(self, prompt: str | tuple[int, ...]) -> str:
        return prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt)

    async def _pool(self, request: EngineRequest) -> Sequence[float]:
        request_id = self.engine.add(request)
        try:
            async for output in self.engine.stream(request_id):
                if output.failure:
                    raise EngineFailure(output.failure.message)
                if output.embedding is not None:
                    return output.embedding.tolist()
            raise EngineFailure("the engine gave no embedding")
        finally:
            self.engine.abort(request_id)


async def off_loop(heavy: bool, work: Callable[[], T]) -> T:
    """Do the work here, or on another thread if it would hold up the event loop."""
    return await anyio.to_thread.run_sync(work) if heavy else work()


def is_large(request: ChatRequest) -> bool:
    """Whether a conversation takes long to render and tokenise. The size of tools is not looked into."""
    size = sum(
        len(message.text)
        + len(message.reasoning or "")
        + sum(len(call.arguments) for call in message.tool_calls)
        for message in request.messages
    )
    return bool(request.tools) or size > LARGE_CHARS


def seeded(sampling: SamplingParams, choice: int) -> SamplingParams:
    """Sampling for choice number `choice`: each its own seed, the first one the caller's."""
    if sampling.seed is None or choice == 0:
        return sampling
    return replace(sampling, seed=(sampling.seed + choice) % 2**63)


def unit_vector(values: Sequence[float], dimensions: int | None) -> array[float]:
    """The first `dimensions` values scaled to Euclidean length 1, as 32-bit floats."""
    if dimensions is not None and dimensions > len(values):
        raise InvalidRequest(
            f"dimensions must be at most {len(values)}, got {dimensions}", param="dimensions"
        )
    cut = values[:dimensions]
    length = sum(value * value for value in cut) ** 0.5
    return array("f", (value / length for value in cut) if length else cut)
