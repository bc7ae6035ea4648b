"""A tiny random model behind a real server, and ways to look at what the engine still holds."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from openglm.asgi import Running
from openglm.engine import Engine, EngineOptions, load_engine
from openglm.model import Decoder, ModelConfig, save_model
from openglm.serve import Service, create_app
from openglm.tokenizer.chat import load_chat_format

CONTROL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
)
FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
GLM = ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
XML = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "/nothink")
CONTROLS = CONTROL + FIM + GLM + XML
CONFIG = {
    "model_type": "llama",
    "vocab_size": 256 + len(CONTROLS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 65536,
    "eos_token_id": 258,
}


def byte_tokenizer(controls: tuple[str, ...]) -> dict:
    """tokenizer.json of a byte-level BPE without merges: one token per byte, then the control tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": 256 + n, "content": text, **flags} for n, text in enumerate(controls)],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {letters[byte]: byte for byte in range(256)}, "merges": []},
    }


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer model with a byte tokenizer that knows the tags of ChatML and of the GLMs."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-chat"
    torch.manual_seed(0)
    model = Decoder(ModelConfig.from_dict(CONFIG))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(model, folder)
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer(CONTROLS)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    return folder


@pytest.fixture(scope="session")
def open_service(tiny_checkpoint: Path) -> Iterator[Callable[..., Service]]:
    """Makes a service over the tiny model with engine options of its own; all are closed at the end."""
    engines: list[Engine] = []

    def make(
        path: Path = tiny_checkpoint, name: str = "tiny", form: str | None = None, **options: int
    ) -> Service:
        engine = load_engine(path, options=EngineOptions(**options))
        engines.append(engine)
        tokenizer = engine.tokenizer
        chat_format = load_chat_format(path, tokenizer, form)
        return Service(engine, tokenizer, chat_format, name, licence="Apache-2.0", source="test")

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def service(open_service: Callable[..., Service]) -> Service:
    """One for each file: a server that stops stops its service, and files come in any order."""
    return open_service(max_context=2048, cache_tokens=16384)


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    """The address of a real server in front of the tiny model."""
    with Running(create_app(service)) as url:
        yield url


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Polls a condition until it holds, for at most a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.005)

    return wait


@pytest.fixture
def idle(service: Service, wait_until: Callable) -> Callable[[], None]:
    """Waits until the engine runs nothing and every cache block is free."""
    return lambda: wait_until(lambda: is_idle(service))


def is_idle(service: Service) -> bool:
    stats = service.engine.stats()
    return stats.running == stats.waiting == 0 and stats.blocks_free == stats.blocks_total
