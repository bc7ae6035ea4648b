"""LoRA adapters on CUDA: in float32 a mixed batch gets the tokens of the CPU."""

import copy
from dataclasses import replace

import pytest
import torch

from openglm.engine import EngineCore, EngineOptions, EngineRequest
from openglm.model.lora import new_adapter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_mixed_batch_gets_the_tokens_of_the_cpu(models, tokenizer, answers, prompts, greedy):
    requests = [
        EngineRequest(prompt, greedy(), adapter=(None, "1", "2")[n % 3]) for n, prompt in enumerate(prompts)
    ]
    tokens = []
    for device in ("cpu", "cuda"):
        model = copy.deepcopy(models("llama")).to(device)
        core = EngineCore(model, tokenizer, EngineOptions(cache_tokens=2048, max_batch_tokens=256))
        for seed in (1, 2):
            generator = torch.Generator().manual_seed(seed)
            adapter = new_adapter(model.config, rank=4, alpha=8, targets=None, dropout=0, generator=generator)
            pairs = {
                name: replace(pair, B=torch.randn(pair.B.shape, generator=generator) * 0.5)
                for name, pair in adapter.pairs.items()
            }
            core.load_adapter(str(seed), replace(adapter, pairs=pairs))
        tokens.append(answers(core, requests).tokens)
    assert tokens[0] == tokens[1]
