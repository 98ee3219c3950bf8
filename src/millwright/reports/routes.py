"""The service's routes as a page, of its OpenAPI description: one file, nothing fetched, no script."""

from collections.abc import Iterator, Mapping
from typing import Any

from millwright.records import JsonObject
from millwright.reports.environment import templates

LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "over {}",
    "maximum": "at most {}",
    "minLength": "{} characters and more",
    "maxLength": "up to {} characters",
    "minItems": "{} and more",
    "maxItems": "up to {}",
}
Part = dict[str, str]  # "text", and "href" where it is the name of a message


def routes_page(described: JsonObject) -> str:
    """The page of a service.

    Args:
        described: its OpenAPI description, version 3.1.

    Returns:
        HTML.
    """
    messages = described.get("components", {}).get("schemas", {})
    return templates.get_template("routes.html").render(
        title=f"{described['info']['title']}: routes",
        routes=[
            _route(method, path, about)
            for path, methods in sorted(described["paths"].items())
            for method, about in methods.items()
        ],
        messages=[
            {"name": name, "meaning": about.get("description", ""), "fields": _fields(about)}
            for name, about in sorted(messages.items())
        ],
    )


def _route(method: str, path: str, about: Mapping[str, Any]) -> JsonObject:
    statuses = sorted(about["responses"])
    body = about.get("requestBody")
    return {
        "method": method.upper(),
        "path": path,
        "meaning": about.get("description", ""),
        "parameters": [
            _field(one["name"], one["schema"], is_required=one["required"])
            for one in about.get("parameters", ())
        ],
        "takes": list(_holds(_content(body))) if body else [],
        "status": statuses[0],
        "gives": list(_holds(_content(about["responses"][statuses[0]]))),
        "refusals": statuses[1:],
    }


def _content(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a body; empty where its kind says nothing."""
    for kind in about.get("content", {}).values():
        schema: Mapping[str, Any] = kind.get("schema", {})
        return schema
    return {}


def _fields(about: Mapping[str, Any]) -> list[JsonObject]:
    required = about.get("required", ())
    fields = about.get("properties", {})
    return [_field(name, schema, is_required=name in required) for name, schema in fields.items()]


def _field(name: str, schema: Mapping[str, Any], *, is_required: bool) -> JsonObject:
    holds = list(_holds(schema))
    if schema.get("default") is not None:
        holds.append({"text": f"; {schema['default']} if left out"})
    meaning = schema.get("description", "")
    return {"name": name, "holds": holds, "meaning": meaning, "is_required": is_required}


def _holds(schema: Mapping[str, Any]) -> Iterator[Part]:
    """What a schema lets in, in words; null is told by that a field is optional."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield {"text": name, "href": name}
    elif "anyOf" in schema:
        for place, one in enumerate(one for one in schema["anyOf"] if one.get("type") != "null"):
            if place:
                yield {"text": " or "}
            yield from _holds(one)
    elif "enum" in schema:
        yield {"text": ", ".join(map(str, schema["enum"]))}
    elif "const" in schema:
        yield {"text": str(schema["const"])}
    elif "items" in schema:
        yield {"text": "list of "}
        yield from _holds(schema["items"])
        yield from _limits(schema)
    elif "type" in schema:
        yield {"text": schema["type"]}
        yield from _limits(schema)


def _limits(schema: Mapping[str, Any]) -> Iterator[Part]:
    told = [text.format(f"{schema[key]:g}") for key, text in LIMITS.items() if key in schema]
    if told:
        yield {"text": f" ({', '.join(told)})"}
