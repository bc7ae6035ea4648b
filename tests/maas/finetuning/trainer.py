"""A trainer that keeps the contract of `glm train` without a model, and does what a test adds.

    RECIPE --json --until-eof [--plan]
    --gate FILE      wait at each step until FILE holds a number that is larger than the step
    --fail N CODE    at step N end with CODE, until a file `mended` stands in the output folder
    --deaf           do not hear SIGTERM
    --no-plan N      end with N instead of a plan

The loss of a step depends on nothing but seed and step, so a training that goes on is known by its figures.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path


def option(name: str, count: int = 1) -> list[str]:
    at = sys.argv.index(name) if name in sys.argv else -1
    return sys.argv[at + 1 : at + 1 + count] if at > 0 else []


def main() -> int:
    (path,) = [word for word in sys.argv[1:] if word.endswith(".toml")]
    assert {"--json", "--until-eof"} <= set(sys.argv)
    recipe = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    run, data = recipe["run"], recipe["data"]
    output = Path(run["output"])
    stopped = threading.Event()
    if "--deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())

    def until_eof() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=until_eof, daemon=True).start()
    examples = Path(data["train"]).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(examples, 1):
        if "UNREADABLE" in line:
            print(f"error: {data['train']} line {number}: cannot be rendered", file=sys.stderr)
            return 2
    batch = run.get("batch_size", 2)
    total = -(-len(examples) // batch) * run["epochs"]
    each = 100  # tokens of a step
    if "--plan" in sys.argv:
        if failing := option("--no-plan"):
            return int(failing[0])
        plan = {"tokens": total * each, "steps": total, "batch_size": batch, "learning_rate": 2e-4}
        print(json.dumps(plan | {"weights_bytes": 1000, "training_bytes": 200, "activation_bytes": 30}))
        return 0
    (output / "checkpoint").mkdir(parents=True, exist_ok=True)
    code = train(recipe, output, total, each, stopped)
    if code is not None:
        return code
    adapter = output / "adapter"
    adapter.mkdir(exist_ok=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights of " + recipe["model"]["name"].encode())
    print(json.dumps({"status": "done", "adapter": str(adapter), "trained_tokens": total * each}), flush=True)
    return 0


def train(recipe: dict, output: Path, total: int, each: int, stopped: threading.Event) -> int | None:
    """Train from the last checkpoint on; the exit code of a training that did not come to its end."""
    run, data = recipe["run"], recipe["data"]
    state = output / "checkpoint" / "state.json"
    step = json.loads(state.read_text())["step"] if state.exists() else 0
    metrics = output / "metrics.jsonl"
    kept = metrics.read_text().splitlines()[:step] if metrics.exists() else []
    metrics.write_text("".join(line + "\n" for line in kept))
    print(f"starts at step {step} of {total}", file=sys.stderr, flush=True)
    gate = option("--gate")
    while step < total:
        while gate and not stopped.is_set() and gate_of(Path(gate[0])) <= step:
            time.sleep(0.005)
        failing = option("--fail", 2)
        if failing and step == int(failing[0]) and not (output / "mended").exists():
            print("error: out of memory", file=sys.stderr)
            return int(failing[1])
        if stopped.is_set():
            save(state, step)
            return 143
        step += 1
        row = {
            "step": step,
            "total_steps": total,
            "epoch": step * run["epochs"] / total,
            "tokens": step * each,
            "loss": (run["seed"] % 7 + 1) / step,
            "learning_rate": recipe["optimizer"]["learning_rate"] * (1 - step / total),
            "grad_norm": 1.0,
            "tokens_per_second": 1000.0,
        }
        if "validation" in data and step == total:
            row["validation_loss"] = 1.5 / step
        with metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        if step % run["save_every_steps"] == 0:
            save(state, step)
    return None


def save(state: Path, step: int) -> None:
    draft = state.with_suffix(".partial")
    draft.write_text(json.dumps({"step": step}))
    draft.rename(state)


def gate_of(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text or 0)


if __name__ == "__main__":
    sys.exit(main())
