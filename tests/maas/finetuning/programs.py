"""The programs that stand in for `glm train` and `glm serve`, and how a platform is told to use them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from openglm.maas.models import Model

HERE = Path(__file__).parent
TRAINER = (sys.executable, str(HERE / "trainer.py"))


def serve(model: Model, socket: Path, adapters: Mapping[str, Path]) -> Sequence[str]:
    """The command line of `model_server.py`, for `Platform(server=...)`."""
    loras = [word for name, folder in adapters.items() for word in ("--lora", f"{name}={folder}")]
    program = str(HERE / "model_server.py")
    return (sys.executable, program, "tiny", "--name", model.name, "--uds", str(socket), *loras)
