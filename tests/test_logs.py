"""Logs without secrets, in whatever words and by whatever road they come."""

from __future__ import annotations

import io
import logging

import pytest

from openglm.logs import RedactSecrets, redact
from openglm.maas.secrets import new_token

KEY = "key_" + "0123456789abcdef" + "0123456789." + "aB3" * 13
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJhcGlfa2V5IjoiayJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
SECRETS = [
    (f"key {KEY} was used", KEY.partition(".")[2]),
    ("zhipu 0123456789abcdef0123456789abcdef.AbCdEfGh12345678", "AbCdEfGh12345678"),
    (f"got {JWT}", "c2lnbmF0dXJlLXNpZ25hdHVyZQ"),
    ("Authorization: Bearer abc.def-ghi", "abc.def"),
    ("{'authorization': 'bearer tokenvalue1'}", "tokenvalue1"),
    ("(b'x-api-key', b'some-opaque-value')", "some-opaque-value"),
    ("Cookie: a=b; __Host-glm_session=hush-hush", "hush-hush"),
    ("set-cookie: glm_session=hush-hush; Path=/", "hush-hush"),
    ('{"password": "hunter22", "name": "ann"}', "hunter22"),
    ("client_secret=hunter22&code=1", "hunter22"),
    ("GET /api/console/oidc/callback?state=a&code=hunter22 HTTP/1.1", "hunter22"),
    ("postgresql://openglm:hunter22@db/openglm", "hunter22"),
    (f"invited with {(token := new_token('i'))}", token),
    ("upstream key sk-abcdefghijklmnop1234", "abcdefghijklmnop1234"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS, ids=[text[:16] for text, _ in SECRETS])
def test_secrets_never_reach_a_log_whichever_way_they_are_logged(text, secret):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s"))
    handler.addFilter(RedactSecrets())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning(text, extra={"extra": ""})
    logger.warning("as an argument: %s %r", text, {"inside": text}, extra={"extra": text})
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed", extra={"extra": [text]}, stack_info=True)
    assert secret not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_what_is_no_secret_is_left_alone():
    for text in [
        "openglm.maas.gateway.exchange: 12 max_tokens, prompt_tokens=5, total 3.14",
        "request req_0123456789abcdef01234567890 took 12 ms at https://example.org:8080/a?b=c",
        f"key {KEY.partition('.')[0]} was revoked",
    ]:
        assert redact(text) == text


def test_masking_a_megabyte_of_hostile_text_does_not_take_long():
    for unit in ("eyJ", "a.", "glms_", "password:", "://a:", "authorization "):
        redact(unit * (200_000 // len(unit)))
