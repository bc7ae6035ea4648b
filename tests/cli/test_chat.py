"""`glm chat`, through a pipe and in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Self

import pytest

pytestmark = pytest.mark.slow
DEADLINE_S = 30


class Terminal:
    """A program on a terminal of its own, as `expect` would see it."""

    def __init__(self, *arguments: str):
        self.master, slave = os.openpty()
        own_terminal = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        # A test run in the background of a script ignores interrupts, and so would its children.
        heeding = "signal.signal(signal.SIGINT, signal.SIG_DFL);"
        start = (
            f"{own_terminal} {heeding}"
            " os.execv(sys.executable, [sys.executable, '-m', 'openglm.cli', *sys.argv[1:]])"
        )
        self.program = subprocess.Popen(
            [sys.executable, "-c", start, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | {"TERM": "dumb"},
        )
        os.close(slave)
        self.unread = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt_prompt(self, text: str) -> None:
        """Ctrl-C until `text` appears: readline loses one that comes while it is still drawing the prompt."""
        for _ in range(4):
            self.type("\x03")
            if self.appears(text, 5):
                break
        self.wait_for(text)

    def interrupt_to_leave(self) -> int:
        """The same, until the program has ended; its exit code."""
        for _ in range(4):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.program.wait(5)
        return self.program.wait(DEADLINE_S)

    def wait_for(self, text: str) -> str:
        """What appears up to and with `text`."""
        assert self.appears(text, DEADLINE_S), f"{text!r} did not appear; seen: {self.unread!r}"
        seen, _, self.unread = self.unread.partition(text)
        return seen + text

    def appears(self, text: str, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while text not in self.unread:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return False
            try:
                data = os.read(self.master, 65536)
            except OSError as error:  # how Linux says that the program has closed its side
                raise AssertionError(f"it ended before {text!r}; seen: {self.unread!r}") from error
            self.unread += data.decode(errors="replace")
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self.master)


@pytest.fixture
def terminal(smollm2) -> Iterator[Terminal]:
    with Terminal("chat", "--seed", "3", "--temperature", "1", "--max-tokens", "400") as program:
        program.wait_for("> ")
        yield program


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal):
    terminal.type("Write a very long story about a fox and a river, with many chapters.\r")
    terminal.wait_for("chapters.")
    terminal.wait_for(" ")  # the first words of the answer
    terminal.type("\x03")
    terminal.wait_for("[stopped]")
    terminal.wait_for("> ")
    terminal.type("/exit\r")
    assert terminal.program.wait(DEADLINE_S) == 0


def test_ctrl_c_at_an_empty_prompt_hints_and_a_second_one_leaves(terminal):
    terminal.interrupt_prompt("press Ctrl-C again")
    terminal.wait_for("> ")
    terminal.type("/help\r")  # doing something else in between starts the count anew
    terminal.wait_for("/save FILE")
    terminal.wait_for("> ")
    terminal.interrupt_prompt("press Ctrl-C again")
    terminal.wait_for("> ")
    assert terminal.interrupt_to_leave() == 0


def test_several_lines_pasted_at_once_are_one_turn(terminal, tmp_path):
    terminal.type("first line\nsecond line\n")
    terminal.wait_for("second line")
    terminal.wait_for("> ")
    terminal.type(f"/save {tmp_path / 'c.json'}\r")
    terminal.wait_for("turns saved")
    assert json.loads((tmp_path / "c.json").read_text())[0]["content"] == "first line\nsecond line"


def test_a_script_can_talk_and_the_conversation_is_remembered_and_saved(glm, smollm2, tmp_path):
    saved = tmp_path / "talk.json"
    script = f'/system Be brief.\nHello!\n"""\nTwo\nlines\n"""\n/save {saved}\n/exit\nnot asked\n'
    done = glm("chat", "--max-tokens", "8", "--seed", "1", stdin=script)
    assert done.returncode == 0, done.stderr
    turns = json.loads(saved.read_text())
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert turns[3]["content"] == "Two\nlines"
    assert turns[2]["content"] in done.stdout
    assert "\x1b" not in done.stdout
    assert ">" not in done.stdout

    again = tmp_path / "again.json"
    done = glm("chat", stdin=f"/load {saved}\n/save {again}\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(again.read_text()) == turns


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/sav x", "did you mean /save?"),
        ("/think perhaps", "on, off or auto"),
        ("/load /nothing/here", "cannot read"),
        ("/load", "needs a file's name"),
    ],
)
def test_a_wrong_command_ends_a_script_with_a_message(glm, smollm2, line, said):
    done = glm("chat", stdin=f"{line}\n")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
