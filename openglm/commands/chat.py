"""`glm chat`: a conversation in the terminal.

Ctrl-C stops the answer that is being written and keeps what there is of it; at an empty prompt a second one
leaves. With stdin not a terminal, each line is a turn, so that scripts can talk too.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openglm.commands.session import EngineFlags, Lora, SamplingFlags, Session, open_session
from openglm.errors import InvalidRequest, OpenGLMError
from openglm.messages import Event, Failure, Finish, Message, ReasoningDelta, SamplingParams, TextDelta

HELP = """\
/help              this list
/system [TEXT]     say how the model should behave; without TEXT: show what is set, `/system -` takes it away
/think on|off|auto reasoning before the answer, for models that can
/save FILE         write the conversation as JSON
/load FILE         go on with a saved one
/new               start over; the system turn stays
/exit              leave, as Ctrl-D does
A line of three double quotes begins a text of several lines and ends it. Ctrl-C stops an answer."""
FENCE = '"""'
PASTE_WAIT_S = 0.03  # lines of one paste arrive together; nobody types that fast
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def chat(
    model: Annotated[str | None, Parameter(help="default: the embedded one")] = None,
    /,
    *,
    system: Annotated[str | None, Parameter(help="how the model should behave")] = None,
    thinking: Annotated[bool | None, Parameter(help="for models that can; default: the model's own")] = None,
    lora: Lora = None,
    sampling: SamplingFlags = SamplingFlags(),
    flags: EngineFlags = EngineFlags(),
) -> None:
    """Talk to a model in the terminal: it streams, remembers, and /help lists what can be said besides."""
    with open_session(model, flags, lora) as session:
        params = sampling.params(session.local)
        Conversation(session, params, system=system, thinking=thinking).run()


@dataclass
class Conversation:
    """The turns so far and how to go on."""

    session: Session
    sampling: SamplingParams
    system: str | None = None
    thinking: bool | None = None
    turns: list[Message] = field(default_factory=list)

    def run(self) -> None:
        """Read and answer until /exit, the end of input, or a second Ctrl-C at the prompt."""
        interactive = sys.stdin.isatty()
        if interactive:
            prepare_line_editing()
            tell("/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves")
        interrupted = False
        while True:
            try:
                text = read_turn("> " if interactive else "")
            except KeyboardInterrupt:
                tell("" if interrupted else "\npress Ctrl-C again, Ctrl-D or /exit to leave")
                if interrupted:
                    return
                interrupted = True
                continue
            except EOFError:
                if interactive:
                    print()
                return
            interrupted = False
            if text == "/exit":
                return
            try:
                self.take(text)
            except OpenGLMError as error:
                if not interactive:
                    raise
                tell(f"error: {error}")

    def take(self, text: str) -> None:
        if text.startswith("/"):
            self.command(text)
        elif text.strip():
            self.answer(text)

    def answer(self, text: str) -> None:
        """One question and its answer. If it cannot be asked, the conversation is as before."""
        question = Message.of("user", text)
        system = [Message.of("system", self.system)] if self.system else []
        shown = Shown()
        events = self.session.answer([*system, *self.turns, question], self.sampling, self.thinking)
        failure = None
        try:
            for event in events:
                shown.show(event)
                if isinstance(event, Failure):
                    failure = event.message
        except KeyboardInterrupt:
            shown.note("stopped")
        finally:
            events.close()  # type: ignore[attr-defined]  # a generator: leaving it frees the request
            shown.end()
        if failure:
            tell(f"error: {failure}")
        if shown.text or shown.reasoning:
            answer = Message.of("assistant", shown.text, reasoning=shown.reasoning or None)
            self.turns += [question, answer]

    def command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: tell(HELP),
            "/system": self.set_system,
            "/think": self.set_thinking,
            "/save": self.save,
            "/load": self.load,
            "/new": lambda _: self.turns.clear(),
        }
        if name not in commands:
            near = get_close_matches(name, [*commands, "/exit"], 1, cutoff=0.3)
            raise InvalidRequest(
                f"there is no command {name}", hint=f"did you mean {near[0]}?" if near else "/help lists them"
            )
        commands[name](rest)

    def set_system(self, text: str) -> None:
        if text:
            self.system = None if text == "-" else text
        tell(f"system: {self.system}" if self.system else "no system turn")

    def set_thinking(self, word: str) -> None:
        choices = {"on": True, "off": False, "auto": None}
        if word not in choices:
            raise InvalidRequest(f"/think takes on, off or auto, got {word!r}")
        self.thinking = choices[word]
        tell(f"thinking: {word}")

    def save(self, name: str) -> None:
        path = file_named(name, "/save")
        rows = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            row = {"role": turn.role, "content": turn.text}
            rows.append(row | ({"reasoning_content": turn.reasoning} if turn.reasoning else {}))
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error
        tell(f"{len(self.turns)} turns saved in {path}")

    def load(self, name: str) -> None:
        path = file_named(name, "/load")
        try:
            rows = json.loads(path.read_bytes())
            system = [row["content"] for row in rows if row["role"] == "system"]
            turns = [
                Message.of(row["role"], row["content"], reasoning=row.get("reasoning_content"))
                for row in rows
                if row["role"] in ("user", "assistant")
            ]
        except OSError as error:
            raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{path} is not a saved conversation: a JSON list of turns is expected"
            ) from error
        self.system, self.turns = (system[-1] if system else None), turns
        tell(f"{len(turns)} turns loaded from {path}")


class Shown:
    """An answer on its way to the terminal. Reasoning is dim, or marked by words where there is no colour."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.in_reasoning = False
        self.colour = (
            sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        )

    def show(self, event: Event) -> None:
        match event:
            case ReasoningDelta(piece):
                if not self.in_reasoning:
                    self.mark_reasoning(True)
                self.reasoning += piece
                put_reasoning(piece)
            case TextDelta(piece):
                if self.in_reasoning:
                    self.mark_reasoning(False)
                self.text += piece
                print(piece, end="", flush=True)
            case Finish("length"):
                self.note("cut: the longest answer was reached")

    def mark_reasoning(self, begins: bool) -> None:
        self.in_reasoning = begins
        if self.colour:
            put_reasoning(DIM if begins else f"{PLAIN}\n\n")
        else:
            put_reasoning("(thinking) " if begins else "\n\n")

    def note(self, text: str) -> None:
        if self.in_reasoning:
            self.mark_reasoning(False)
        sys.stdout.flush()
        tell(f" [{text}]")

    def end(self) -> None:
        if self.in_reasoning:
            self.mark_reasoning(False)
        print(flush=True)


def put_reasoning(text: str) -> None:
    """On a terminal beside the answer; into a pipe goes the answer alone."""
    print(text, end="", flush=True, file=sys.stdout if sys.stdout.isatty() else sys.stderr)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def file_named(name: str, command: str) -> Path:
    if not name:
        raise InvalidRequest(f"{command} needs a file's name")
    return Path(name).expanduser()


def prepare_line_editing() -> None:
    """Arrow keys, history, and pasted line ends that do not send. Without readline: plain input."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)
    readline.parse_and_bind("set enable-bracketed-paste on")


def read_turn(prompt: str) -> str:
    """One turn: a line, what was pasted along with it, or everything between two fences."""
    line = input(prompt)
    if line.strip() != FENCE:
        return "\n".join([line, *pasted_lines()]) if prompt else line
    lines = []
    while (line := input("… " if prompt else "")).strip() != FENCE:
        lines.append(line)
    return "\n".join(lines)


def pasted_lines() -> Iterator[str]:
    """Lines that wait in the terminal already."""
    while select.select([sys.stdin], [], [], PASTE_WAIT_S)[0]:
        try:
            yield input("")
        except EOFError:
            return
