"""LoRA adapters in the engine: several in one batch, over exact and packed weights, and cached prefixes."""
# ruff: noqa: PLR0917, fixtures come as parameters

import copy
from dataclasses import replace

import pytest
import torch

from openglm.engine import Engine, EngineCore, EngineOptions, EngineRequest
from openglm.errors import Conflict, ModelNotFound
from openglm.messages import Finish
from openglm.model.lora import Adapter, merge, new_adapter, write_adapter
from openglm.model.quantize import quantize_model

NAMES = [None, "a", "b", "a", None, "c", "b", "b", "a", None, "c", "a"]  # by prompt


def build_adapter(config, seed: int, targets=None) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    adapter = new_adapter(config, rank=2 + seed, alpha=8, targets=targets, dropout=0, generator=generator)
    return replace(
        adapter,
        pairs={
            name: replace(pair, B=torch.randn(pair.B.shape, generator=generator) * 0.5)
            for name, pair in adapter.pairs.items()
        },
    )


@pytest.fixture
def adapters(models):
    """Three of different ranks; one has only some of the projections that are one matrix here."""

    def make(name: str) -> dict[str, Adapter]:
        config = models(name).config
        some = ["q_proj", "v_proj", "down_proj"]
        return {
            "a": build_adapter(config, 1),
            "b": build_adapter(config, 2, some),
            "c": build_adapter(config, 3, ["k_proj", "o_proj"]),
        }

    return make


@pytest.fixture
def models(models):
    """Copies: the models are shared by all tests, and adapters leave hooks in them."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = copy.deepcopy(models(name))
        return made[name]

    return get


@pytest.fixture
def adapted_core(make_core, adapters):
    def make(name: str = "llama", **options):
        core = make_core(name, **options)
        for adapter, pairs in adapters(name).items():
            core.load_adapter(adapter, pairs)
        return core

    return make


def requests_for(prompts, sampling):
    return [EngineRequest(p, sampling, adapter=name) for p, name in zip(prompts, NAMES, strict=True)]


@pytest.mark.parametrize("name", ["llama", "glm4", "glm4_moe"])
def test_a_batch_of_mixed_adapters_gets_the_tokens_each_gets_alone(
    name, adapted_core, answers, prompts, greedy
):
    core = adapted_core(name, prefix_cache=False, max_batch_tokens=40)
    requests = requests_for(prompts, greedy())
    together = answers(core, requests).tokens
    assert together == [answers(core, [request]).tokens[0] for request in requests]
    bare = answers(core, [replace(request, adapter=None) for request in requests]).tokens
    changed = [mine != theirs for mine, theirs in zip(together, bare, strict=True)]
    assert changed == [adapter is not None for adapter in NAMES]


@pytest.mark.parametrize("name", ["llama", "glm4_moe"])
def test_an_adapter_gives_the_tokens_of_the_model_it_is_merged_into(
    name, models, tokenizer, adapters, adapted_core, answers, prompts, greedy
):
    core = adapted_core(name)
    for adapter, pairs in adapters(name).items():
        served = answers(core, [EngineRequest(prompt, greedy(), adapter=adapter) for prompt in prompts])
        merged = copy.deepcopy(models(name))
        merge(merged, pairs)
        alone = EngineCore(merged, tokenizer, core.options)
        assert served.tokens == answers(alone, [EngineRequest(prompt, greedy()) for prompt in prompts]).tokens


@pytest.mark.parametrize("bits", [4, 8])
def test_over_packed_weights_an_adapter_is_added_to_the_packed_product(
    bits, models, tokenizer, adapters, answers, prompts, greedy
):
    """And a row's numbers do not depend on the adapters of the rows beside it."""
    model = quantize_model(models("llama"), bits)
    core = EngineCore(model, tokenizer, EngineOptions(cache_tokens=2048, prefix_cache=False))
    for name, adapter in adapters("llama").items():
        core.load_adapter(name, adapter)
    requests = requests_for(prompts, greedy())
    together = answers(core, requests).tokens
    assert together == [answers(core, [request]).tokens[0] for request in requests]

    linear, x = model.layers[1].self_attn.qkv_proj, torch.randn(5, 64)
    pairs = adapters("llama")["b"].pairs
    with torch.inference_mode():
        packed = linear(x)
        with core.runner.adapters.rows([2, 0], [3, 2]):  # numbers go by the order of loading
            adapted = linear(x)
    q, v = (pairs[f"model.layers.1.self_attn.{name}"] for name in ("q_proj", "v_proj"))
    expected = packed.clone()
    expected[:3, :64] += q.scale * x[:3] @ q.A.T @ q.B.T
    expected[:3, 96:] += v.scale * x[:3] @ v.A.T @ v.B.T
    torch.testing.assert_close(adapted, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(adapted[3:], packed[3:])


@pytest.mark.parametrize("speculate", ["mtp", "lookup"])
def test_speculation_and_preemption_change_no_token_of_adapters(
    speculate, adapted_core, answers, prompts, greedy
):
    requests = requests_for(prompts, greedy(40))
    calm = answers(adapted_core("glm4_moe"), requests)
    core = adapted_core(
        "glm4_moe", cache_tokens=160, speculate=speculate, num_draft_tokens=2, speculate_up_to=16
    )
    assert answers(core, requests).tokens == calm.tokens
    assert core.stats().preemptions > 0


def test_cached_prefixes_are_shared_only_by_the_same_adapter(adapted_core, answers, prompts, greedy):
    core = adapted_core()
    first = answers(core, [EngineRequest(prompts[11], greedy(), adapter="a")])
    for adapter, cached in (("b", 0), (None, 0), ("a", 80)):
        again = answers(core, [EngineRequest(prompts[11], greedy(), adapter=adapter)])
        assert again[0].cached_tokens == cached
    assert again.tokens == first.tokens


def test_another_adapter_under_an_old_name_does_not_see_its_prefixes(
    adapted_core, adapters, answers, prompts, greedy
):
    core = adapted_core()
    request = EngineRequest(prompts[11], greedy(), adapter="a")
    before = answers(core, [request]).tokens
    core.unload_adapter("a")
    core.load_adapter("a", adapters("llama")["b"])
    after = answers(core, [request])
    assert after[0].cached_tokens == 0
    assert after.tokens == answers(core, [replace(request, adapter="b")]).tokens != before


def test_an_unloaded_adapter_serves_its_answers_to_the_end(adapted_core, answers, prompts, greedy):
    core = adapted_core()
    request = EngineRequest(prompts[8], greedy(), adapter="a")
    expected = answers(core, [request]).tokens[0]
    running, waiting = core.add(request), core.prepare(request)
    got: list[int] = []
    while core.has_work:
        for request_id, output in core.step():
            assert request_id == running
            got += output.token_ids
        if len(got) == 3:
            core.unload_adapter("a")
            with pytest.raises(ModelNotFound, match="'a'"):
                core.add(request)
    assert tuple(got) == expected
    late = core.submit(waiting)  # prepared before, queued after the adapter was freed
    assert late is not None
    assert late.failure is not None
    assert "unloaded" in late.failure.message


def test_the_model_is_bare_again_when_the_last_adapter_is_gone(adapted_core, models):
    core = adapted_core()
    assert any(module._forward_hooks for module in models("llama").modules())
    for name in "abc":
        core.unload_adapter(name)
    assert not any(module._forward_hooks for module in models("llama").modules())


def test_names_are_used_once_and_unknown_ones_are_refused(adapted_core, adapters, prompts, greedy):
    core = adapted_core()
    with pytest.raises(Conflict, match="loaded already"):
        core.load_adapter("a", adapters("llama")["b"])
    with pytest.raises(ModelNotFound):
        core.unload_adapter("d")
    with pytest.raises(ModelNotFound):
        core.add(EngineRequest(prompts[0], greedy(), adapter="d"))


def test_embeddings_and_prompt_logprobs_go_through_the_adapter(adapted_core, answers, prompts, greedy):
    core = adapted_core()
    bare, adapted = (
        answers(
            core,
            [
                EngineRequest(prompts[5], pooling="mean", adapter=adapter),
                EngineRequest(prompts[5], greedy(1, logprobs=0), prompt_logprobs=True, adapter=adapter),
            ],
        )
        for adapter in (None, "a")
    )
    assert not torch.allclose(bare[0].embedding, adapted[0].embedding)
    assert [t.logprob for t in bare[1].prompt_logprobs] != [t.logprob for t in adapted[1].prompt_logprobs]


def test_the_engines_thread_loads_and_unloads_between_steps(
    models, tokenizer, adapters, tmp_path, prompts, greedy
):
    write_adapter(tmp_path, adapters("llama")["a"], "tiny")
    with Engine(models("llama"), tokenizer, EngineOptions(cache_tokens=1024)) as engine:
        engine.load_adapter("a", tmp_path)
        *_, bare = engine.generate(EngineRequest(prompts[5], greedy(4)))
        *_, last = engine.generate(EngineRequest(prompts[5], greedy(4), adapter="a"))
        assert bare.finish == last.finish == Finish("length")
        engine.unload_adapter("a")
        with pytest.raises(ModelNotFound):
            engine.add(EngineRequest(prompts[5], greedy(4), adapter="a"))
