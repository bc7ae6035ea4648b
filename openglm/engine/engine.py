"""The engine on its own thread: requests in from anywhere, outputs to async or plain readers.

The thread owns the EngineCore; everybody else leaves commands in its inbox, which it empties between steps.
Outputs of one step wake each event loop once, however many streams it holds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor

from openglm import kernels
from openglm.engine.core import EngineCore, Outputs
from openglm.engine.request import EngineOptions, EngineOutput, EngineRequest, EngineStats
from openglm.engine.request import Sequence as EngineSequence
from openglm.errors import EngineFailure, Overloaded
from openglm.messages import Failure
from openglm.model.checkpoint import load_model
from openglm.model.decoder import Decoder
from openglm.model.lora import read_adapter
from openglm.runtime import pick_device
from openglm.tokenizer import Tokenizer, load_tokenizer

log = logging.getLogger(__name__)

STOPPED = "the engine has stopped"


class Engine:
    def __init__(self, model: Decoder, tokenizer: Tokenizer, options: EngineOptions | None = None):
        self.tokenizer = tokenizer
        self._core = EngineCore(model, tokenizer, options)
        self._max_waiting = self._core.options.max_waiting
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._channels: dict[int, _Channel] = {}
        self._lock = threading.Lock()  # guards the next two
        self._num_submitted = 0  # in the inbox, not yet in the scheduler's queue
        self._stopped = False  # the thread has ended
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="openglm-engine", daemon=True)
        self._thread.start()

    @property
    def max_context(self) -> int:
        """Tokens that the prompt and answer of one request may have together."""
        return self._core.limits.max_context

    def add(self, request: EngineRequest) -> int:
        """Queue a request; any thread. Raises InvalidRequest, PromptTooLong, Overloaded or EngineFailure.

        A new grammar is compiled here, which may take a second: event loops use `add_async`.
        """
        sequence = self._core.prepare(request)
        with self._lock:
            if self._closing:
                raise Overloaded("the engine is stopping")
            if self._stopped:
                raise EngineFailure(STOPPED, hint="start it again")
            num_waiting = len(self._core.scheduler.waiting) + self._num_submitted
            if num_waiting >= self._max_waiting:
                raise Overloaded(f"{num_waiting} requests are waiting already", hint="try again in a while")
            self._num_submitted += 1
            self._channels[sequence.id] = _Channel()
            self._inbox.put(partial(self._submit, sequence))
        return sequence.id

    async def add_async(self, request: EngineRequest) -> int:
        """`add` that never holds up the event loop."""
        if request.grammar is None:
            return self.add(request)
        return await asyncio.to_thread(self.add, request)

    async def stream(self, request_id: int) -> AsyncIterator[EngineOutput]:
        """Outputs as they come, several as one if the reader is slow. Leaving early aborts the request."""
        channel = self._channel(request_id)
        event = asyncio.Event()
        channel.waiter = (asyncio.get_running_loop(), event)
        try:
            while True:
                event.clear()
                output = channel.take()
                if output is None:
                    await event.wait()
                    continue
                yield output
                if output.done:
                    return
        finally:
            self._hang_up(request_id)

    def generate(self, request: EngineRequest) -> Iterator[EngineOutput]:
        """The same for readers without an event loop."""
        request_id = self.add(request)
        channel = self._channel(request_id)
        event = threading.Event()
        channel.waiter = event
        try:
            while True:
                event.clear()
                output = channel.take()
                if output is None:
                    event.wait()
                    continue
                yield output
                if output.done:
                    return
        finally:
            self._hang_up(request_id)

    def embed(self, prompt_ids: Sequence[int]) -> Tensor:
        """Mean of the final hidden states, (hidden_size,) float32, not normalised."""
        *_, output = self.generate(EngineRequest(prompt_ids, pooling="mean"))
        if output.failure is not None:
            raise EngineFailure(output.failure.message)
        return output.embedding

    def abort(self, request_id: int) -> None:
        """Free all that a request holds, after the running step. Its stream ends with Finish("abort");
        a request that nobody streams yet is forgotten."""
        self._inbox.put(partial(self._abort, request_id))

    def load_adapter(self, name: str, folder: Path) -> None:
        """Read a LoRA adapter in PEFT's layout; requests use it by its name from the next step on."""
        adapter = read_adapter(folder, self._core.model.config)
        self._call(lambda: self._core.load_adapter(name, adapter))

    def unload_adapter(self, name: str) -> None:
        """Take the name away; answers in flight finish with the adapter."""
        self._call(lambda: self._core.unload_adapter(name))

    def update_weights(self, tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> None:
        """Between two steps, put new values into the model; see EngineCore.update_weights."""
        self._call(lambda: self._core.update_weights(tensors))

    @property
    def alive(self) -> bool:
        """Whether requests are served: False once the thread has failed, or was told to close."""
        return not (self._stopped or self._closing)

    def stats(self) -> EngineStats:
        return self._core.stats()

    def close(self) -> None:
        """Stop after the current step. Requests that are not finished fail."""
        with self._lock:
            self._closing = True
        self._inbox.put(lambda: None)
        self._thread.join()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The reader's side

    def _channel(self, request_id: int) -> _Channel:
        channel = self._channels.get(request_id)
        if channel is None:
            raise ValueError(f"request {request_id} is unknown, or was streamed already")
        if channel.waiter is not None:
            raise ValueError(f"request {request_id} is being streamed already")
        return channel

    def _hang_up(self, request_id: int) -> None:
        channel = self._channels.pop(request_id, None)
        if channel is not None and not channel.ended:
            self.abort(request_id)

    def _call(self, function: Callable[[], Any]) -> Any:
        """Run it on the engine's thread, between steps, and wait."""
        future: Future[Any] = Future()

        def command() -> None:
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        with self._lock:
            if self._closing or self._stopped:
                raise EngineFailure(STOPPED, hint="start it again")
            self._inbox.put(command)
        return future.result()

    # The engine's thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._read_inbox()
                self._deliver(self._core.step())
        except BaseException:
            log.exception("the engine's thread failed")
        with self._lock:
            self._stopped = True
        while not self._inbox.empty():  # commands that others wait for
            try:
                self._inbox.get()()
            except Exception:
                log.exception("a command failed while the engine stopped")
        self._deliver(self._core.fail_all(STOPPED))
        lost = EngineOutput(failure=Failure(STOPPED, retryable=True))  # read by those who have no end yet
        self._deliver([(request_id, lost) for request_id in list(self._channels)])

    def _read_inbox(self) -> None:
        """All commands there are; with nothing else to do, wait for one."""
        while not self._inbox.empty() or not (self._core.has_work or self._closing):
            self._inbox.get()()

    def _submit(self, sequence: EngineSequence) -> None:
        with self._lock:
            self._num_submitted -= 1
            output = self._core.submit(sequence)
        if output is not None:
            self._deliver([(sequence.id, output)])

    def _abort(self, request_id: int) -> None:
        output = self._core.abort(request_id)
        if output is not None:
            self._deliver([(request_id, output)])
        channel = self._channels.get(request_id)
        if channel is not None and channel.waiter is None:
            self._channels.pop(request_id, None)

    def _deliver(self, outputs: Outputs) -> None:
        ready: dict[asyncio.AbstractEventLoop, list[asyncio.Event]] = {}
        for request_id, output in outputs:
            channel = self._channels.get(request_id)
            if channel is None:
                continue  # nobody reads any more
            channel.outputs.append(output)
            if isinstance(channel.waiter, threading.Event):
                channel.waiter.set()
            elif channel.waiter is not None:
                loop, event = channel.waiter
                ready.setdefault(loop, []).append(event)
        for loop, events in ready.items():
            try:
                loop.call_soon_threadsafe(_set_all, events)
            except RuntimeError:
                log.warning("an event loop was closed while it streamed %d answers", len(events))


class _Channel:
    """Outputs on their way to one reader. Both ends use nothing but atomic steps of a deque."""

    def __init__(self) -> None:
        self.outputs: deque[EngineOutput] = deque()
        self.waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event] | threading.Event | None = None
        self.ended = False

    def take(self) -> EngineOutput | None:
        """All that has come, as one output."""
        if not self.outputs:
            return None
        output = self.outputs.popleft()
        while self.outputs and not output.done:
            output = output.then(self.outputs.popleft())
        self.ended = output.done
        return output


def packed_pays(device: torch.device) -> bool:
    """Whether packed weights are faster than unpacked ones on this device."""
    return device.type == "cpu" and kernels.native() is not None


def load_engine(
    path: Path,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    quantize: Literal["auto", "int8", "int4", "keep"] | None = "auto",
    options: EngineOptions | None = None,
) -> Engine:
    """Model and tokenizer from a checkpoint folder or a GGUF file, in an engine.

    quantize "auto": GGUF weights stay packed as they are where native kernels compute with them; elsewhere
    they are unpacked, since plain torch would unpack them in every step. Nothing else is quantised.
    """
    path = Path(path)
    where = pick_device(device)
    if quantize == "auto":
        quantize = "keep" if path.suffix == ".gguf" and packed_pays(where) else None
    model = load_model(path, device=str(where), dtype=dtype, quantize=quantize)
    return Engine(model, load_tokenizer(path), options)


def _set_all(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()
