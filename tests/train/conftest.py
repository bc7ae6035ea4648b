"""A tiny random chat model on disk, chats to train it on, and short ways to do so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from openglm.model import Decoder, ModelConfig, save_model
from openglm.tokenizer import load_tokenizer
from openglm.tokenizer.chat import ChatFormat, load_chat_format
from openglm.train import run
from openglm.train.recipe import read_recipe

torch.set_num_threads(1)

CONTROLS = (  # noqa: SIM905
    "<|endoftext|> <|im_start|> <|im_end|> <tool_call> </tool_call> <think> </think> [gMASK] <sop> "
    "<|system|> <|user|> <|assistant|> <|observation|> <tool_response> </tool_response> "
    "<arg_key> </arg_key> <arg_value> </arg_value> /nothink"
).split()
SIZES = {
    "vocab_size": 256 + len(CONTROLS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
MOE = {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "use_qk_norm": True}
CONFIGS = {
    "llama": SIZES | {"model_type": "llama"},
    "qwen2": SIZES | {"model_type": "qwen2", "tie_word_embeddings": True},
    "glm4": SIZES | {"model_type": "glm4"},
    "glm4_moe": SIZES | {"model_type": "glm4_moe"} | MOE,
}


def byte_tokenizer() -> dict:
    """tokenizer.json of a byte-level BPE without merges: one token per byte, then the control tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": 256 + n, "content": text, **flags} for n, text in enumerate(CONTROLS)],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {letters[byte]: byte for byte in range(256)}, "merges": []},
    }


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Decoder]:
    def build(name: str = "llama") -> Decoder:
        torch.manual_seed(0)
        model = Decoder(ModelConfig.from_dict(CONFIGS[name]))
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, mean=1, std=0.1)
            else:
                torch.nn.init.normal_(parameter, std=1.2 / parameter.shape[-1] ** 0.5)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def tiny(build_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(build_model(), folder)
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    return folder


@pytest.fixture(scope="session")
def forms(tiny: Path) -> Callable[[str], ChatFormat]:
    return lambda name: load_chat_format(tiny, load_tokenizer(tiny), name)


@pytest.fixture(scope="session")
def chatml(forms) -> ChatFormat:
    return forms("chatml")


def chat(question: str, answer: str) -> dict:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns}


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes a JSONL file; texts are written as they are."""

    def write(rows: list, name: str = "chats.jsonl") -> Path:
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe_file(tiny, write_lines, tmp_path) -> Path:
    """Ten chats of different lengths, four epochs in batches of four: twelve steps."""
    write_lines([chat("q" * n, "yes " * (n % 3 + 1)) for n in range(1, 11)])
    write_lines([chat("why", "yes yes"), chat("who", "yes")], "validation.jsonl")
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'[model]\nname = "{tiny}"\ndtype = "float32"\n'
        '[data]\ntrain = "chats.jsonl"\nvalidation = "validation.jsonl"\n'
        "[lora]\nrank = 4\ndropout = 0.1\n"
        "[optimizer]\nlearning_rate = 1e-2\n"
        '[run]\noutput = "out"\nepochs = 4\nbatch_size = 4\nsave_every_steps = 5\n'
    )
    return path


class Stopping:
    """Asks for an end after some steps."""

    def __init__(self, after: int | None):
        self.left = after

    def __call__(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


@pytest.fixture
def train_it() -> Callable[..., dict | None]:
    """Runs a recipe, for at most `steps` steps; rows go to `rows`."""

    def work(path: Path, *changes: str, steps: int | None = None, rows: list | None = None) -> dict | None:
        prepared = run.prepare(read_recipe(path, changes))
        finished = run.start(prepared)
        if finished is not None:
            return finished
        return run.train(prepared, (rows if rows is not None else []).append, Stopping(steps))

    return work


@pytest.fixture
def metrics() -> Callable[[Path], list[dict]]:
    """The metrics of a run, without what depends on the clock."""

    def read(folder: Path) -> list[dict]:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in rows]

    return read
