"""LoRA adapters in PEFT's layout: what is read, what is refused, and that they add what they should."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from openglm.errors import CheckpointError
from openglm.model import CausalAttend, Decoder, ModelConfig, load_model
from openglm.model.lora import Adapter, Pair, merge, new_adapter, places, read_adapter, write_adapter
from openglm.model.quantize import quantize_model

LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
CONFIG = ModelConfig.from_dict(LLAMA)
Q, DOWN = (
    "base_model.model.model.layers.{}.self_attn.q_proj",
    "base_model.model.model.layers.{}.mlp.down_proj",
)


def random_adapter(config: ModelConfig, seed: int = 0, **options) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    options = {"rank": 4, "alpha": 6, "targets": None, "dropout": 0.0} | options
    adapter = new_adapter(config, generator=generator, **options)
    pairs = {
        name: replace(pair, B=torch.randn(pair.B.shape, generator=generator) * 0.2)
        for name, pair in adapter.pairs.items()
    }
    return replace(adapter, pairs=pairs)


@pytest.fixture
def folder(tmp_path):
    """A published adapter: what PEFT writes for q_proj and down_proj of a two-layer Llama."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in (0, 1):
        for name, inputs in ((Q.format(layer), 32), (DOWN.format(layer), 48)):
            tensors[f"{name}.lora_A.weight"] = torch.randn(2, inputs, generator=generator)
            tensors[f"{name}.lora_B.weight"] = torch.randn(32, 2, generator=generator)
    settings = {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": "somebody/some-model",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_to_transform": None,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "peft_version": "0.21.2",
        "qalora_group_size": 16,
        "r": 2,
        "rank_pattern": {},
        "target_modules": ["down_proj", "q_proj"],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    path = tmp_path / "published"
    path.mkdir()
    save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
    (path / "adapter_config.json").write_text(json.dumps(settings))
    return path


def change(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def change_tensors(folder, edit):
    tensors = load_file(folder / "adapter_model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def test_a_published_adapter_is_read_by_the_published_names(folder):
    adapter = read_adapter(folder, CONFIG)
    tensors = load_file(folder / "adapter_model.safetensors")
    assert sorted(adapter.pairs) == sorted(
        name.removeprefix("base_model.model.")
        for layer in (0, 1)
        for name in (Q.format(layer), DOWN.format(layer))
    )
    for name, pair in adapter.pairs.items():
        assert torch.equal(pair.A, tensors[f"base_model.model.{name}.lora_A.weight"])
        assert torch.equal(pair.B, tensors[f"base_model.model.{name}.lora_B.weight"])
        assert pair.scale == 4


def test_what_is_written_reads_back_the_same(tmp_path):
    adapter = random_adapter(CONFIG)
    write_adapter(tmp_path, adapter, "smollm2")
    back = read_adapter(tmp_path, CONFIG)
    assert back.pairs.keys() == adapter.pairs.keys() == places(CONFIG).keys()
    for name, pair in adapter.pairs.items():
        assert torch.equal(back.pairs[name].A, pair.A)
        assert torch.equal(back.pairs[name].B, pair.B)
        assert back.pairs[name].scale == pair.scale
    assert (back.rank, back.alpha) == (adapter.rank, adapter.alpha)
    names = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert "base_model.model.model.layers.1.mlp.gate_proj.lora_B.weight" in names
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA"
    assert sorted(settings["target_modules"]) == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


def test_merged_weights_are_those_of_the_published_model_with_the_product_added(
    family, reference, checkpoint, prompt
):
    """Against transformers: its own matrices, found by their published names, plus scale * B A."""
    model = load_model(checkpoint(family, mtp=False))
    adapter = random_adapter(model.config)
    theirs = reference(family)
    linears = {
        name for name, module in theirs.model.named_modules(prefix="model") if type(module) is torch.nn.Linear
    }
    assert adapter.pairs.keys() == linears
    with torch.no_grad():
        for name, pair in adapter.pairs.items():
            theirs.get_submodule(name).weight += pair.scale * pair.B @ pair.A
        expected = theirs(prompt[None]).logits[0]
        merge(model, adapter)
        hidden = model(prompt, torch.arange(len(prompt)), CausalAttend())
        torch.testing.assert_close(model.logits(hidden), expected, rtol=1e-4, atol=1e-4)


def test_a_new_adapter_adds_nothing_and_its_seed_decides_it():
    first, second, other = (
        new_adapter(
            CONFIG, rank=4, alpha=8, targets=["q_proj"], dropout=0, generator=torch.Generator().manual_seed(s)
        )
        for s in (1, 1, 2)
    )
    name = "model.layers.0.self_attn.q_proj"
    assert torch.equal(first.pairs[name].A, second.pairs[name].A)
    assert not torch.equal(first.pairs[name].A, other.pairs[name].A)
    assert 0.9 * 32**-0.5 < first.pairs[name].A.abs().max() <= 32**-0.5
    assert not any(pair.B.any() for pair in first.pairs.values())
    assert first.num_parameters == 2 * (4 * 32 + 32 * 4)


def test_an_unknown_target_names_the_nearest():
    with pytest.raises(CheckpointError, match="did you mean q_proj"):
        random_adapter(CONFIG, targets=["q_prj"])


@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        ({"use_rslora": True}, {"q_proj": 8 / math.sqrt(2), "down_proj": 8 / math.sqrt(2)}),
        ({"alpha_pattern": {"q_proj": 3}}, {"q_proj": 1.5, "down_proj": 4}),
        ({"alpha_pattern": {r"layers\.\d+\.mlp\.down_proj": 3}}, {"q_proj": 4, "down_proj": 1.5}),
        ({"target_modules": r".*\.(q|down)_proj"}, {"q_proj": 4, "down_proj": 4}),
        ({"r": 9, "rank_pattern": {"q_proj": 2, "down_proj": 2}}, {"q_proj": 4, "down_proj": 4}),
        ({"target_modules": ["q_proj", "mlp.down_proj"]}, {"q_proj": 4, "down_proj": 4}),
        ({"layers_to_transform": [0, 1]}, {"q_proj": 4, "down_proj": 4}),
    ],
)
def test_settings_that_peft_knows_mean_the_same_here(folder, settings, scales):
    change(folder, **settings)
    for name, pair in read_adapter(folder, CONFIG).pairs.items():
        assert pair.scale == pytest.approx(scales[name.rpartition(".")[2]])


def test_layers_and_exclusions_say_which_tensors_there_must_be(folder):
    change(folder, layers_to_transform=1, exclude_modules=["down_proj"])
    with pytest.raises(CheckpointError, match="unused tensor"):
        read_adapter(folder, CONFIG)
    change_tensors(folder, lambda t: [t.pop(name) for name in list(t) if "layers.1.self_attn" not in name])
    assert list(read_adapter(folder, CONFIG).pairs) == ["model.layers.1.self_attn.q_proj"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "lora_only"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"a_setting_of_tomorrow": 1}, "a_setting_of_tomorrow"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base weights"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 0}, "at least 1"),
        ({"r": "many"}, "makes no sense"),
        ({"r": 3}, r"should be \(3, 32\)"),
        ({"target_modules": ["q_proj"]}, "unused tensor"),
        ({"target_modules": ["q_proj", "down_proj", "v_proj"]}, "lacks tensor"),
        ({"target_modules": ["embed_tokens"]}, "none of this model's projections"),
    ],
)
def test_what_we_cannot_honour_is_refused_by_name(folder, settings, said):
    change(folder, **settings)
    with pytest.raises(CheckpointError, match=said):
        read_adapter(folder, CONFIG)


def test_an_adapter_of_another_model_is_refused(folder):
    wider = ModelConfig.from_dict(LLAMA | {"hidden_size": 64})
    with pytest.raises(CheckpointError, match="another model"):
        read_adapter(folder, wider)
    deeper = ModelConfig.from_dict(LLAMA | {"num_hidden_layers": 3})
    with pytest.raises(CheckpointError, match="lacks tensor"):
        read_adapter(folder, deeper)


def test_a_pickle_is_not_opened_and_a_cut_file_is_noticed(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_adapter(folder, CONFIG)
    path.rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        read_adapter(folder, CONFIG)
    with pytest.raises(CheckpointError, match=r"no adapter_config\.json"):
        read_adapter(folder / "nowhere", CONFIG)


def test_few_bits_are_not_merged_into():
    model = quantize_model(Decoder(CONFIG), 8)
    adapter = Adapter(
        {"model.layers.0.mlp.up_proj": Pair(torch.ones(1, 32), torch.ones(48, 1), 1.0)}, 1, 1, ("up_proj",)
    )
    with pytest.raises(CheckpointError, match="few bits"):
        merge(model, adapter)
