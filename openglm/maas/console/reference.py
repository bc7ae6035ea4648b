"""The OpenAPI document as a page that needs no script and no other host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; } details { border-top: 1px solid #8884; padding: .4rem 0; }
summary { cursor: pointer; } code, pre { font: .9em/1.45 ui-monospace, monospace; }
pre { overflow: auto; background: #8881; padding: .6rem; border-radius: .4rem; }
.method { display: inline-block; width: 4.5rem; font-weight: 600; } .dim { opacity: .7; }
table { border-collapse: collapse; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
"""


def page(document: Mapping[str, Any]) -> str:
    """A whole HTML page."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style>"
    yield f"<h1>{escape(info['title'])} <span class=dim>{escape(info['version'])}</span></h1>"
    yield f"<p>{escape(info.get('description', ''))}</p>"
    yield '<p>For programs: <a href="openapi.json">openapi.json</a></p>'
    base = document["servers"][0]["url"]
    for tag in document["tags"]:
        yield f"<h2 id={escape(tag['name'])}>{escape(tag['name'].capitalize())}</h2>"
        yield f"<p>{escape(tag['description'])}</p>"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation.get("tags", ()):
                    yield from _operation(document, method, base + path, operation)


def _operation(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<details><summary><span class=method>{method.upper()}</span> <code>{escape(path)}</code>"
    yield f" <span class=dim>{escape(operation.get('summary', ''))}</span></summary>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        yield "<table>"
        for parameter in parameters:
            kind = json.dumps(_kind(document, parameter.get("schema", {})), ensure_ascii=False)
            needed = "needed" if parameter.get("required") else ""
            cells = (parameter["name"], parameter["in"], kind, needed, parameter.get("description", ""))
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        yield "</table>"
    if body := operation.get("requestBody"):
        yield "<p>Send</p>" + _shape(document, body["content"])
    for status, answer in operation["responses"].items():
        if status.startswith("2") and answer.get("content"):
            yield f"<p>Answer {escape(status)}</p>" + _shape(document, answer["content"])
    yield "</details>"


def _shape(document: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    schema = next(iter(content.values())).get("schema", {})
    return f"<pre>{escape(json.dumps(_kind(document, schema), indent=2, ensure_ascii=False))}</pre>"


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """A schema as an example of itself: field names with the kinds of their values."""
    if reference := schema.get("$ref"):
        return _kind(document, document["components"]["schemas"][reference.rpartition("/")[2]])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        kinds = [_kind(document, choice) for choice in choices]
        return " or ".join(kinds) if all(isinstance(kind, str) for kind in kinds) else kinds[0]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return [_kind(document, schema.get("items", {}))]
    if properties := schema.get("properties"):
        return {name: _kind(document, value) for name, value in properties.items()}
    return str(schema.get("type", "anything"))
