"""MCP servers that the operator sets up: written in platform.toml, their secrets in the environment."""

from __future__ import annotations

import pytest

from openglm.dialects.mcp import McpServer
from openglm.errors import OpenGLMError
from openglm.maas.settings import read_settings


def test_servers_are_tables_and_their_secrets_stand_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENGLM_MCP_OUR_WIKI_AUTHORIZATION", "Bearer hush")
    (tmp_path / "platform.toml").write_text(
        '[mcp.our-wiki]\nurl = "http://10.0.0.7/mcp"\nallowed_tools = ["find"]\n'
        '[mcp.old]\nurl = "http://10.0.0.8/sse"\ntransport = "sse"\n'
    )
    settings = read_settings(tmp_path)
    assert settings.mcp == (
        McpServer(
            "our-wiki",
            "http://10.0.0.7/mcp",
            allowed_tools=("find",),
            headers=(("authorization", "Bearer hush"),),
        ),
        McpServer("old", "http://10.0.0.8/sse", "sse"),
    )
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mcp.a]\n", "needs a url"),
        ('[mcp.a]\nurl = "ftp://x"\n', "http or https"),
        ('[mcp.a]\nurl = "http://x"\ntransport = "stdio"\n', "one of sse"),
        ('[mcp.a]\nurl = "http://x"\nheaders = { a = "b" }\n', "'headers'"),
        ('[mcp."a b"]\nurl = "http://x"\n', "server_label"),
        ("mcp = 3\n", "[mcp.wiki]"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path, text, says):
    (tmp_path / "platform.toml").write_text(text)
    with pytest.raises(OpenGLMError) as raised:
        read_settings(tmp_path)
    assert says in str(raised.value)
