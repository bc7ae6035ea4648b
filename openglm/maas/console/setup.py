"""/setup: the page for the first account, the operator's. It needs the set-up token that `glm up` prints, and
no script. Once somebody has signed up it leads to the page at /."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from openglm.asgi.body import ClientGone, read_body
from openglm.errors import OpenGLMError, Unauthorized
from openglm.maas import door
from openglm.maas.console.access import check_page, keep
from openglm.maas.gateway.endpoint import error_response
from openglm.maas.gateway.surfaces import OPENAI

if TYPE_CHECKING:
    from starlette.requests import Request

    from openglm.maas.platform import Platform

MAX_FORM = 8_192  # bytes
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>OpenGLM: first account</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 26rem; margin: 3rem auto; padding: 0 1rem; }} label {{ display: block; margin-top: 1rem; }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; }}
button {{ margin-top: 1.5rem; }} .wrong {{ color: #c33; }}</style>
<h1>The first account <span lang="zh">首个账号</span></h1>
<p>It is the operator's. From then on every program needs an API key.<br>
<span lang="zh">此账号为管理员。创建后,所有程序都需要 API 密钥。</span></p>
<p class="wrong" role="alert">{wrong}</p>
<form method="post" action="/setup"><input type="hidden" name="token" value="{token}">
<label>E-mail <span lang="zh">邮箱</span>
<input name="email" type="email" required autocomplete="email" value="{email}"></label>
<label>Name <span lang="zh">姓名</span>
<input name="name" required autocomplete="name" value="{name}"></label>
<label>Password <span lang="zh">密码</span>
<input name="password" type="password" required minlength="10" autocomplete="new-password"></label>
<button>Create <span lang="zh">创建</span></button></form></html>
"""


def routes(platform: Platform) -> list[BaseRoute]:
    async def set_up(request: Request) -> Response:
        try:
            platform.check_open()
            if not await platform.accounts.is_empty():
                return RedirectResponse("/", 303)
            if request.method == "POST":
                return await _made(platform, request)
            given = dict(request.query_params)
            _check_token(platform, given)
            return _page(given)
        except ClientGone:
            return Response(status_code=499)  # nobody reads it
        except OpenGLMError as error:
            return error_response(OPENAI, error, "")

    return [Route("/setup", set_up, methods=["GET", "POST"])]


async def _made(platform: Platform, request: Request) -> Response:
    check_page(request, platform)
    text = (await read_body(request.scope, request.receive, MAX_FORM)).decode("utf-8", "replace")
    given = {name: values[0] for name, values in parse_qs(text).items()}
    _check_token(platform, given)
    email, name, password = (given.get(word, "") for word in ("email", "name", "password"))
    ip = door.address(request.scope)
    try:
        made = await platform.accounts.sign_up(email, password, name, is_founder=True, ip=ip)
    except OpenGLMError as error:
        return _page(given, error)
    agent = request.headers.get("user-agent", "")
    away = RedirectResponse("/", 303)
    keep(away, request, platform, await platform.sessions.open(made.user.id, ip=ip, agent=agent))
    return away


def _check_token(platform: Platform, given: dict[str, str]) -> None:
    if not platform.installation.is_setup_token(given.get("token")):
        raise Unauthorized(
            "this is not the set-up token of this platform",
            reason="rejected",
            hint="open the address that glm up prints at its start, or use: glm admin user add",
        )


def _page(given: dict[str, str], wrong: OpenGLMError | None = None) -> Response:
    shown = {name: escape(given.get(name, "")) for name in ("token", "email", "name")}
    said = escape(str(wrong)) if wrong else ""
    return HTMLResponse(
        _PAGE.format(wrong=said, **shown),
        status_code=400 if wrong else 200,
        headers={
            "content-security-policy": _POLICY,
            "cache-control": "no-store",
            "referrer-policy": "same-origin",
            "x-content-type-options": "nosniff",
        },
    )
