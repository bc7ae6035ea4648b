"""An answer as blocks: the same ones however its events were cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.dialects.blocks import Block, Blocks, Change, Closed, Grown, Opened
from openglm.messages import Event, ReasoningDelta, TextDelta, ToolCallDelta

THINK, SAY, CALL = ReasoningDelta, TextDelta, ToolCallDelta


def read(*steps: list[Event]) -> tuple[Blocks, list[Change]]:
    blocks = Blocks()
    changes = [change for step in steps for change in blocks.read(step)]
    return blocks, changes + blocks.close()


def shown(blocks: Blocks) -> list[tuple[str, str, str]]:
    return [(block.kind, block.name, block.text) for block in blocks.all]


def replayed(changes: list[Change]) -> list[tuple[str, str, str]]:
    """What somebody sees who only reads the changes; they come in the one order that is allowed."""
    texts: list[list] = []
    current: Block | None = None
    for change in changes:
        match change:
            case Opened(block):
                assert current is None
                assert block.index == len(texts)
                current = block
                texts.append([block.kind, block.name, ""])
            case Grown(block, text):
                assert block is current
                assert text
                texts[-1][2] += text
            case Closed(block):
                assert block is current
                current = None
    assert current is None
    return [tuple(text) for text in texts]


def test_reasoning_text_and_calls_follow_each_other():
    blocks, changes = read(
        [THINK("a"), THINK("b")],
        [SAY("c")],
        [CALL(0, "id0", "f", '{"x"'), CALL(0, arguments=":1}")],
        [CALL(1, "id1", "g", "{}")],
    )
    assert shown(blocks) == [
        ("reasoning", "", "ab"),
        ("text", "", "c"),
        ("call", "f", '{"x":1}'),
        ("call", "g", "{}"),
    ]
    assert replayed(changes) == shown(blocks)
    assert blocks.called


def test_calls_that_come_mixed_are_put_one_after_the_other():
    blocks, changes = read(
        [CALL(0, "id0", "f"), CALL(1, "id1", "g"), CALL(2, "id2", "h")],
        [CALL(1, arguments='{"b":'), CALL(0, arguments='{"a":1}'), CALL(1, arguments="2}")],
    )
    assert shown(blocks) == [("call", "f", '{"a":1}'), ("call", "g", '{"b":2}'), ("call", "h", "")]
    assert replayed(changes) == shown(blocks)


def test_a_server_that_numbers_every_call_zero_makes_several_calls():
    blocks, changes = read(
        [CALL(0, "id0", "f"), CALL(0, "id1", "g", '{"a":'), CALL(0, arguments="1}"), CALL(0, "id2", "h")]
    )
    assert shown(blocks) == [("call", "f", ""), ("call", "g", '{"a":1}'), ("call", "h", "")]
    assert [block.call_id for block in blocks.all] == ["id0", "id1", "id2"]
    assert replayed(changes) == shown(blocks)


def test_a_server_that_repeats_id_and_name_in_every_piece_makes_one_call():
    blocks, _ = read([CALL(0, "id0", "f", '{"a"'), CALL(0, "id0", "f", ":1}")])
    assert shown(blocks) == [("call", "f", '{"a":1}')]


def test_calls_that_wait_are_let_in_before_text_that_follows():
    blocks, changes = read([CALL(0, "a", "f", "{"), CALL(1, "b", "g", "{}")], [SAY("done")])
    assert shown(blocks) == [("call", "f", "{"), ("call", "g", "{}"), ("text", "", "done")]
    assert [block.whole for block in blocks.all] == [False, True, True]
    assert replayed(changes) == shown(blocks)


def test_a_call_that_broke_off_is_no_call():
    blocks, _ = read([CALL(0, "a", "f", '{"x": ')])
    assert not blocks.called


@pytest.mark.parametrize("blank", ["\n", " \n\n"])
def test_blanks_alone_open_no_block(blank: str):
    blocks, changes = read([THINK("a")], [SAY(blank)], [CALL(0, "i", "f", "{}")])
    assert shown(blocks) == [("reasoning", "", "a"), ("call", "f", "{}")]
    assert replayed(changes) == shown(blocks)


def test_blanks_before_a_text_belong_to_it():
    blocks, _ = read([SAY("\n")], [SAY("  ")], [SAY("a")], [SAY("\n")], [SAY("b")])
    assert shown(blocks) == [("text", "", "\n  a\nb")]


def test_blanks_between_the_pieces_of_a_call_do_not_break_it():
    blocks, _ = read([CALL(0, "i", "f", '{"a"')], [SAY("\n")], [CALL(0, arguments=":1}")])
    assert shown(blocks) == [("call", "f", '{"a":1}')]


texts = st.text(alphabet="ab \n", max_size=4)
events = st.one_of(
    st.builds(THINK, texts),
    st.builds(SAY, texts),
    st.builds(
        CALL,
        st.integers(0, 2),
        st.sampled_from([None, "i", "j"]),
        st.sampled_from([None, "f"]),
        st.sampled_from(["", "{}", "{", '"a":1', "}"]),
    ),
)


@given(st.lists(events, max_size=20), st.data())
def test_every_cut_gives_the_same_blocks_and_changes_that_say_so(answer: list[Event], data):
    whole, changes = read(answer)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    bounds = [0, *cuts, len(answer)]
    cut, others = read(*(answer[a:b] for a, b in pairwise(bounds)))
    assert replayed(changes) == shown(whole) == shown(cut) == replayed(others)


@given(st.lists(events, max_size=12))
def test_letters_one_by_one_give_the_same_texts(answer: list[Event]):
    def letters(event: Event) -> list[Event]:
        if isinstance(event, THINK | SAY):
            return [type(event)(letter) for letter in event.text]
        return [event]

    whole, _ = read(answer)
    single, _ = read(*([letter] for event in answer for letter in letters(event)))
    assert shown(whole) == shown(single)
