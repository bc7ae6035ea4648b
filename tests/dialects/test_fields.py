"""How much a body may be: counted before it is read, and in values rather than bytes."""

from __future__ import annotations

import json

import pytest

from openglm.dialects.fields import LARGE_BODY, MAX_VALUES, parse_object, too_many
from openglm.errors import InvalidRequest


@pytest.mark.parametrize("value", ["[]", "{}", "1", '""', '{"a":1}', r'"\\"', r'"\""'])
def test_a_body_of_very_many_values_is_refused_before_it_is_read(value):
    body = f'{{"model": "glm", "unknown": [{", ".join([value] * (MAX_VALUES + 1))}]}}'.encode()
    json.loads(body)
    with pytest.raises(InvalidRequest, match="JSON values") as refused:
        parse_object(body)
    assert refused.value.code == "too_many_values"


@pytest.mark.parametrize("end", ["", "\\", '"', '\\"', "\\\\", '["'])
def test_commas_and_brackets_within_text_do_not_count(end):
    text = "1,[2],{3}," * 200_000 + end
    body = json.dumps({"texts": [text, text], "a": [1, 2]}).encode()
    assert parse_object(body).raw("texts") == [text, text]


def test_as_many_values_as_may_be_are_read():
    body = b'{"ids": [' + b"1," * (MAX_VALUES - 3) + b"1]}"
    assert len(body) > LARGE_BODY
    assert not too_many(body)
    assert len(parse_object(body).items("ids", MAX_VALUES)) == MAX_VALUES - 2
    assert too_many(body.replace(b"[1", b"[1,1,1"))
