"""The engine without threads: add, step, abort. Everything here happens between or inside steps.

A step: the scheduler plans rows, the runner computes them, the sampler chooses tokens where a sequence's
known tokens end, each sequence takes what it may keep, the drafter guesses ahead.
"""

from __future__ import annotations

import itertools
import logging
import math
import secrets
from collections.abc import Iterable, Mapping
from time import perf_counter

import torch
from torch import Tensor

from openglm.engine.adapters import NO_ADAPTER
from openglm.engine.blocks import BlockPool
from openglm.engine.cache import PagedCache, cache_dtype, count_blocks
from openglm.engine.check import Limits, check_request
from openglm.engine.grammar import GrammarCompiler
from openglm.engine.logprobs import token_logprobs
from openglm.engine.request import EngineOptions, EngineOutput, EngineRequest, EngineStats, Sequence
from openglm.engine.runner import Batch, Runner
from openglm.engine.sampler import BROKEN, Sampler
from openglm.engine.scheduler import Chunk, Plan, Scheduler
from openglm.engine.speculate import Drafter, LookupDrafter, MTPDrafter
from openglm.engine.stops import StopState
from openglm.errors import Conflict, EngineFailure, ModelNotFound
from openglm.messages import Failure, Finish, FinishReason, TokenLogprob
from openglm.model.decoder import Decoder
from openglm.model.lora import Adapter
from openglm.tokenizer import Tokenizer

log = logging.getLogger(__name__)

CPU_BATCH_TOKENS, CUDA_BATCH_TOKENS = 256, 4096  # not measured
# Arrivals and leavers wait for the running step. 64 prompt rows of the embedded default keep one core busy
# for 50 ms and give 94 % of the throughput of 256 rows (1300 tokens/s against 1400).
CPU_PROMPT_TOKENS = 64
STEP_FAILED = "the engine failed in the middle of this request"
MAX_SEED = 2**64
PROMPT_ROWS = 64  # rows whose logits are held at once for prompt log-probabilities
Outputs = list[tuple[int, EngineOutput]]


class EngineCore:
    def __init__(self, model: Decoder, tokenizer: Tokenizer, options: EngineOptions | None = None):
        options = options or EngineOptions()
        self.model, self.tokenizer, self.options = model.eval(), tokenizer, options
        device = model.device
        # The embedding may have more rows than the tokenizer has tokens; those are never chosen.
        self.vocab_size = min(tokenizer.vocab_size, model.config.vocab_size)
        context = min(options.max_context or model.config.context_length, model.config.context_length)
        dtype = cache_dtype(model)
        layers = model.cache_layers()
        num_blocks = count_blocks(layers, options, dtype=dtype, device=device, max_context=context)
        cache = PagedCache(
            layers, num_blocks=num_blocks, block_size=options.block_size, dtype=dtype, device=device
        )
        pool = BlockPool(num_blocks, options.block_size)
        cached_context = num_blocks * options.block_size
        self.limits = Limits(self.vocab_size, min(context, cached_context), cached_context)
        batch_tokens, prompt_tokens = options.max_batch_tokens, None
        if batch_tokens is None and device.type == "cuda":
            batch_tokens = CUDA_BATCH_TOKENS
        elif batch_tokens is None:
            batch_tokens, prompt_tokens = CPU_BATCH_TOKENS, CPU_PROMPT_TOKENS
        max_sequences = min(options.max_sequences, batch_tokens)
        self.runner = Runner(model, cache, max_sequences=max_sequences, max_context=self.limits.max_context)
        self.drafter = _drafter(self.runner, self.vocab_size, options)
        self.scheduler = Scheduler(
            pool,
            max_batch_tokens=batch_tokens,
            max_sequences=max_sequences,
            max_prompt_tokens=prompt_tokens,
            prefix_cache=options.prefix_cache,
            lookahead=(options.num_draft_tokens or 1) - 1 if options.speculate == "mtp" else 0,
        )
        self.sampler = Sampler(tokenizer)
        self.grammars = GrammarCompiler(tokenizer, self.vocab_size)
        self._ids = itertools.count(1)
        self._adapters: dict[str, int] = {}  # name -> number
        self._retired: set[int] = set()  # adapters without a name, which answers in flight still use
        self._numbers = itertools.count(NO_ADAPTER + 1)  # never used again: cached prefixes go by them
        self._live: dict[int, Sequence] = {}
        self._finished = self._failed = self._aborted = self._steps = 0
        self._prompt_tokens = self._cached_tokens = self._generated = self._proposed = self._accepted = 0
        self._step_time_s = self._last_step_s = 0.0

    def prepare(self, request: EngineRequest) -> Sequence:
        """Check a request and compile its grammar; raises InvalidRequest. Any thread may call this."""
        max_length = check_request(request, self.limits)
        adapter = NO_ADAPTER if request.adapter is None else self._adapters.get(request.adapter)
        if adapter is None:
            raise ModelNotFound(f"no adapter {request.adapter!a} is loaded", param="model")
        sampling, tokenizer = request.sampling, self.tokenizer
        stop_ids: dict[int, str | int | None] = {}
        if not sampling.ignore_eos:
            stop_ids.update(dict.fromkeys(i for i in tokenizer.eos_token_ids if i < self.vocab_size))
        for stop in sampling.stop:
            token_id = tokenizer.control_tokens.get(stop)  # it has no text, but its name may be meant
            if token_id is not None and token_id < self.vocab_size:
                stop_ids[token_id] = stop
        stop_ids.update((token_id, token_id) for token_id in sampling.stop_token_ids)
        return Sequence(
            id=next(self._ids),
            request=request,
            token_ids=list(request.prompt_ids),
            max_length=max_length,
            seed=(secrets.randbits(64) if sampling.seed is None else sampling.seed) % MAX_SEED,
            adapter=adapter,
            stop_ids=stop_ids,
            stop=StopState(sampling.stop, strip_space=tokenizer.prefix_space) if sampling.stop else None,
            grammar=self.grammars.compile(request.grammar) if request.grammar is not None else None,
        )

    def submit(self, sequence: Sequence) -> EngineOutput | None:
        """Queue it. An output if it is over already: its adapter may have been unloaded since `prepare`."""
        if sequence.adapter != NO_ADAPTER and sequence.adapter not in self.runner.adapters:
            self._failed += 1
            return self._output(sequence, failure=Failure(f"{sequence.request.adapter!a} was unloaded"))
        self._live[sequence.id] = sequence
        self.scheduler.add(sequence)
        return None

    def add(self, request: EngineRequest) -> int:
        sequence = self.prepare(request)
        self.submit(sequence)
        return sequence.id

    def abort(self, request_id: int) -> EngineOutput | None:
        """Drop a request and free all it holds, now. None if it is already over."""
        sequence = self._live.get(request_id)
        if sequence is None:
            return None
        self._leave(sequence)
        self._aborted += 1
        return self._output(sequence, finish=Finish("abort"))

    def fail_all(self, why: str) -> Outputs:
        """Last outputs for whoever is still here when the engine ends."""
        failure = Failure(why, retryable=True)
        return [(sequence.id, self._output(sequence, failure=failure)) for sequence in self._live.values()]

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    @torch.inference_mode()
    def step(self) -> Outputs:
        """One pass through the model. A failure in it costs the requests in the batch, and only these."""
        began = perf_counter()
        plan = self.scheduler.plan()
        for sequence in plan.preempted:
            self.runner.release(sequence)
        if not plan.chunks:
            return []
        outputs: Outputs = []
        try:
            self._run(plan, outputs)
        except Exception:
            log.exception("a step failed with %d sequences", len(plan.chunks))
            outputs += [
                (chunk.sequence.id, self._fail(chunk.sequence, STEP_FAILED, retryable=True))
                for chunk in plan.chunks
                if chunk.sequence.id in self._live
            ]
        self._last_step_s = perf_counter() - began
        self._step_time_s += self._last_step_s
        self._steps += 1
        return outputs

    def _run(self, plan: Plan, outputs: Outputs) -> None:
        """What it has put into `outputs` stands, even if it fails later."""
        chunks = plan.chunks
        batch = self.runner.batch(chunks)
        hidden = self.runner.forward(batch)
        self._read_prompts(batch, chunks, hidden)

        rows: list[int] = []
        choosing: list[Chunk] = []
        for chunk, first in zip(chunks, batch.first_rows, strict=True):
            sequence = chunk.sequence
            if not chunk.reaches_end:
                sequence.num_computed += chunk.num_tokens
            elif not sequence.samples:
                outputs.append((sequence.id, self._end_prompt(chunk)))
            else:
                end = first + chunk.num_tokens
                rows += range(end - chunk.num_drafts - 1, end)
                choosing.append(chunk)

        going: list[Sequence] = []
        if choosing:
            logits = self._logits(hidden if len(rows) == len(hidden) else hidden[rows])
            samples = self.sampler.sample(logits, [chunk.sequence for chunk in choosing])
            row = 0
            for chunk in choosing:
                last = row + 1 + chunk.num_drafts
                failure = samples.failures.get(row)
                if failure is None:
                    sound = next((r for r in range(row + 1, last) if r in samples.failures), last)
                    output = self._take(chunk, samples.token_ids[row:sound], samples.logprobs[row:sound])
                else:
                    output = self._fail(chunk.sequence, failure, retryable=False)
                if output is not None:
                    outputs.append((chunk.sequence.id, output))
                if chunk.sequence.id in self._live:
                    going.append(chunk.sequence)
                row = last
        if self.drafter is not None:
            self._draft(self.drafter, batch, chunks, hidden, going)

    def _logits(self, hidden: Tensor) -> Tensor:
        """(R, hidden_size) -> (R, tokens that exist) float32."""
        return self.model.logits(hidden)[:, : self.vocab_size]

    def _take(
        self, chunk: Chunk, tokens: list[int], logprobs: list[TokenLogprob | None]
    ) -> EngineOutput | None:
        """Keep the drawn tokens as far as the drafts agree with them; hand out what is certain."""
        sequence = chunk.sequence
        drafts, sequence.draft_ids = sequence.draft_ids, []
        kept = 0
        finish, tail, held = None, "", 0
        for token, logprob in zip(tokens, logprobs, strict=True):
            sequence.token_ids.append(token)
            if logprob is not None:
                sequence.logprobs.append(logprob)
            kept += 1
            try:
                finish, tail, held = self._follow(sequence, token)
            except EngineFailure as error:  # its grammar's parser gave up
                return self._fail(sequence, error.message, retryable=False)
            if finish is not None or kept > len(drafts) or drafts[kept - 1] != token:
                break
        sequence.num_computed = chunk.start + chunk.num_tokens - chunk.num_drafts + kept - 1
        self._generated += kept
        if drafts and self.drafter is not None:
            self._proposed += len(drafts)
            self._accepted += kept - 1
            self.drafter.observe(sequence, len(drafts), kept - 1)
        if finish is not None:
            self._leave(sequence)
            self._finished += 1
        elif held >= sequence.num_generated - sequence.num_emitted:
            return None  # all of it may still become a stop string
        return self._output(sequence, finish=finish, tail=tail, held=held)

    def _follow(self, sequence: Sequence, token: int) -> tuple[Finish | None, str, int]:
        """What the newest token means: an end, text before a stop string, and tokens to hold back."""
        ripe = sequence.num_generated >= max(sequence.sampling.min_tokens, 1)
        if sequence.grammar is not None:
            sequence.grammar.accept(token)
        if ripe and token in sequence.stop_ids:
            return Finish("stop", sequence.stop_ids[token]), "", 0
        stop = sequence.stop
        held = 0
        if stop is not None:
            if self.tokenizer.is_control(token):
                stop.separate()
            elif hit := stop.push(self.tokenizer.token_bytes(token), armed=ripe):
                return Finish("stop", hit.stop), hit.tail, hit.num_cut
            held = stop.num_held
        if sequence.grammar is not None and sequence.grammar.finished:
            return Finish("stop"), "", 0
        if len(sequence.token_ids) >= sequence.max_length:
            return Finish("length"), "", 0
        return None, "", held

    def _draft(
        self, drafter: Drafter, batch: Batch, chunks: list[Chunk], hidden: Tensor, going: list[Sequence]
    ) -> None:
        few = len(self.scheduler.running) <= self.options.speculate_up_to
        drafter.draft(batch, chunks, hidden, going if few else [])
        for sequence in going:
            if sequence.draft_ids and sequence.grammar is not None:
                del sequence.draft_ids[sequence.grammar.num_allowed(sequence.draft_ids) :]

    def _read_prompts(self, batch: Batch, chunks: list[Chunk], hidden: Tensor) -> None:
        """Embeddings and log-probabilities of prompts, chunk by chunk."""
        for chunk, first in zip(chunks, batch.first_rows, strict=True):
            sequence = chunk.sequence
            rows = hidden[first : first + chunk.num_tokens]
            if sequence.request.pooling is not None:
                part = rows.float().sum(0)
                sequence.pooled = part if chunk.start == 0 else sequence.pooled + part
            if sequence.request.prompt_logprobs:
                self._score_prompt(sequence, rows, chunk.start)

    def _score_prompt(self, sequence: Sequence, hidden: Tensor, start: int) -> None:
        tokens, texts = sequence.token_ids, self.tokenizer.token_bytes
        if sequence.prompt_logprobs is None:
            sequence.prompt_logprobs = [TokenLogprob(tokens[0], texts(tokens[0]), None)]
        scores = sequence.prompt_logprobs
        num_top = sequence.sampling.logprobs or 0
        end = min(start + len(hidden), sequence.num_prompt - 1)
        # After a preemption the first ones are there already.
        for position in range(start + max(0, len(scores) - 1 - start), end, PROMPT_ROWS):
            stop = min(position + PROMPT_ROWS, end)
            logits = self._logits(hidden[position - start : stop - start])
            targets = tokens[position + 1 : stop + 1]
            scores += token_logprobs(logits, targets, [num_top] * len(targets), texts)

    def _end_prompt(self, chunk: Chunk) -> EngineOutput:
        """A request that wants no tokens is over when its prompt is computed."""
        sequence = chunk.sequence
        sequence.num_computed = len(sequence.token_ids)
        embedding = None
        sound = all(x.logprob is None or math.isfinite(x.logprob) for x in sequence.prompt_logprobs or ())
        if sequence.request.pooling is not None:
            embedding = (sequence.pooled / sequence.num_prompt).cpu()
            sound = bool(embedding.isfinite().all())
        if not sound:
            return self._fail(sequence, BROKEN, retryable=False)
        self._leave(sequence)
        self._finished += 1
        reason: FinishReason = "stop" if embedding is not None else "length"
        return self._output(sequence, finish=Finish(reason), embedding=embedding)

    def _leave(self, sequence: Sequence, *, trusted: bool = True) -> None:
        del self._live[sequence.id]
        self.scheduler.remove(sequence, trusted=trusted)
        self.runner.release(sequence)
        self.sampler.forget(sequence)
        if self.drafter is not None:
            self.drafter.forget(sequence)
        if sequence.adapter in self._retired:
            self._drop_unused()
        if sequence.cached_tokens is not None:  # it was admitted
            self._prompt_tokens += sequence.num_prompt
            self._cached_tokens += sequence.cached_tokens

    def _fail(self, sequence: Sequence, why: str, *, retryable: bool) -> EngineOutput:
        """End a request whose numbers cannot be trusted; nothing it computed is kept."""
        self._leave(sequence, trusted=False)
        self._failed += 1
        return self._output(sequence, failure=Failure(why, retryable))

    def _output(
        self,
        sequence: Sequence,
        *,
        finish: Finish | None = None,
        failure: Failure | None = None,
        tail: str = "",
        held: int = 0,
        embedding: Tensor | None = None,
    ) -> EngineOutput:
        """Everything that is known and not handed out yet, except the last `held` tokens."""
        begin = sequence.num_prompt + sequence.num_emitted
        new = sequence.token_ids[begin : len(sequence.token_ids) - held]
        first = sequence.num_emitted == 0
        sequence.num_emitted += len(new)
        logprobs: tuple[TokenLogprob, ...] = ()
        if sequence.logprobs:
            logprobs = tuple(sequence.logprobs[: len(new)])
            del sequence.logprobs[: len(new)]
        scores = sequence.prompt_logprobs if first and failure is None else None
        if scores is not None and len(scores) == sequence.num_prompt:
            sequence.prompt_logprobs = None
        else:
            scores = None
        return EngineOutput(
            token_ids=tuple(new),
            logprobs=logprobs,
            finish=finish,
            failure=failure,
            tail=tail,
            prompt_logprobs=None if scores is None else tuple(scores),
            embedding=embedding,
            prompt_tokens=sequence.num_prompt,
            cached_tokens=sequence.cached_tokens or 0,
            generated_tokens=sequence.num_generated,
        )

    def load_adapter(self, name: str, adapter: Adapter) -> None:
        """Let requests use it by this name."""
        if name in self._adapters:
            raise Conflict(f"an adapter {name!a} is loaded already", hint="unload it first")
        number = next(self._numbers)
        self.runner.adapters.add(number, adapter)
        self._adapters = {**self._adapters, name: number}  # other threads read it

    def unload_adapter(self, name: str) -> None:
        """No new request finds it any more; answers in flight go on with it, and the last one frees it."""
        if name not in self._adapters:
            raise ModelNotFound(f"no adapter {name!a} is loaded", param="lora_name")
        self._retired.add(self._adapters[name])
        self._adapters = {other: number for other, number in self._adapters.items() if other != name}
        self._drop_unused()

    def _drop_unused(self) -> None:
        for number in self._retired - {sequence.adapter for sequence in self._live.values()}:
            self._retired.remove(number)
            self.runner.adapters.remove(number)

    @torch.inference_mode()
    def update_weights(self, tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> None:
        """Copy new values into the model's parameters, by name. Nothing changes unless all fit.

        Everything computed so far is dropped: the prefix cache is emptied, and answers in flight compute
        their text again, so that what they go on with comes from the new weights alone.
        """
        new = dict(tensors)
        state = self.model.state_dict()
        for name, tensor in new.items():
            if name not in state:
                raise EngineFailure(f"the model has no tensor {name!r}")
            if state[name].shape != tensor.shape:
                raise EngineFailure(
                    f"tensor {name!r} must have shape {tuple(state[name].shape)}, got {tuple(tensor.shape)}"
                )
        for sequence in reversed(self.scheduler.running.copy()):
            self.scheduler.preempt(sequence, trusted=False)
            self.runner.release(sequence)
        self.scheduler.pool.forget_all()
        for name, tensor in new.items():
            state[name].copy_(tensor)

    def stats(self) -> EngineStats:
        scheduler, pool = self.scheduler, self.scheduler.pool
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            blocks_total=pool.num_blocks,
            blocks_free=pool.num_free,
            blocks_cached=pool.num_cached,
            finished=self._finished,
            failed=self._failed,
            aborted=self._aborted,
            preemptions=scheduler.num_preemptions,
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated,
            draft_proposed=self._proposed,
            draft_accepted=self._accepted,
            step_time_s=self._step_time_s,
            last_step_s=self._last_step_s,
        )


def _drafter(runner: Runner, vocab_size: int, options: EngineOptions) -> Drafter | None:
    if options.speculate == "lookup":
        return LookupDrafter(options.num_draft_tokens or 6)
    if options.speculate == "mtp":
        if not runner.model.config.num_nextn_predict_layers:
            raise EngineFailure(
                "this model has no multi-token-prediction layer", hint="speculate by 'lookup', or not at all"
            )
        # GLM's recipe: one guess per step; the second is rarely right (vLLM #25993).
        return MTPDrafter(runner, vocab_size, options.num_draft_tokens or 1)
    return None
