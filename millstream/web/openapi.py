"""The OpenAPI 3.1 description of the views, built from their declarations and the authentication settings."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from inspect import getdoc
from typing import Any

import msgspec

from millstream.settings import Settings
from millstream.version import __version__
from millstream.web.auth import OPEN, scope_of
from millstream.web.parameters import Parameter
from millstream.web.responses import NotRead, Partial, Problem, Read

JSON = "application/json"
TEXT = {"type": "string"}
PAGES = "pages"
REFS = "#/components/schemas/{name}"

ABOUT = """\
Live tables and health of an event pipeline. Any worker answers for any key. `docs/queries.md` describes the \
guarantees of an answer, and the fields of each kind of table; `docs/security.md` describes access control.

Each view also takes `HEAD`."""
# Descriptions of the error responses.
WHY = {
    400: "The request is invalid: a parameter cannot be parsed, or is unknown.",
    401: "A valid token is required.",
    403: "The token does not have the scope.",
    404: "Not found; `detail` says what exists.",
    429: "The client sends too many requests.",
    503: "Unavailable: partitions move, or a dependency does not answer. `Retry-After` says when to retry.",
}
HEADERS = {
    401: {"WWW-Authenticate": {"description": "As in RFC 6750.", "schema": TEXT}},
    403: {"WWW-Authenticate": {"description": "As in RFC 6750; with the scope.", "schema": TEXT}},
    429: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
    503: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
}


@dataclass(frozen=True)
class Operation:
    """The description of a view at one path.

    Attributes:
        tag: the group of the view.
        answer: the JSON answer: a type of `millstream.web.responses`, a tuple of them, or a JSON Schema; None
            if the answer is not JSON.
        busy: the JSON answer with status 503.
        forms: other media types of the answers, and their JSON Schemas.
        path: the path, if the view is described at several paths; None for the view's own path.
        variant: suffix of the operation's id, if the view is described at several paths.
        parts: parameters of the path.
        query: parameters of the query string.
        about: further description.
        unknown: whether the answer may be 404.
        cached: whether a client that has the current answer gets 304.
    """

    tag: str = "others"
    answer: Any = None
    busy: Any = None
    forms: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    variant: str = ""
    parts: Sequence[Parameter] = ()
    query: Sequence[Parameter] = ()
    about: str = ""
    unknown: bool = False
    cached: bool = False


Described = Operation | Callable[[], Iterable[Operation]]


class Operations:
    """The descriptions of the views, by path."""

    def __init__(self) -> None:
        self._by_path: dict[str, Callable[[], Iterable[Operation]]] = {}

    def describe(self, what: Described) -> Callable[[Any], Any]:
        """Return a decorator that describes a view; a function if the description depends on the tables."""

        def note(view: Any) -> Any:
            self._by_path[view.view_path] = (lambda: [what]) if isinstance(what, Operation) else what
            return view

        return note

    def at(self, path: str) -> Iterable[Operation]:
        """Return the descriptions of the view at a path."""
        return self._by_path.get(path, lambda: [Operation()])()


def document(
    views: Mapping[str, Any], operations: Operations, conf: Settings, types: Iterable[Any] = ()
) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        views: Faust's views, by path.
        operations: the descriptions of the views.
        conf: settings; they tell whether tokens are required.
        types: types that the tables' answers use.
    """
    paths: dict[str, dict[str, Any]] = {}
    used: list[Any] = [Problem, Read, NotRead, Partial, *types]
    tags: dict[str, None] = {}
    for path, view in views.items():
        for operation in operations.at(path):
            used += _types(operation.answer) + _types(operation.busy)
            tags[operation.tag] = None
            place = paths.setdefault(operation.path or plain(path), {})
            for method in sorted(view.get_methods() - {"HEAD"}):
                place[method.lower()] = _operation(view, path, method, operation, conf)
    _, schemas = msgspec.json.schema_components(dict.fromkeys(used), ref_template=REFS)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millstream", "version": __version__, "description": ABOUT},
        "tags": [{"name": tag} for tag in sorted(tags, key=PAGES.__eq__)],  # the pages come last
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": {
                "RetryAfter": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}
            },
            "responses": {_phrase(status): _error(status) for status in WHY},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token from `millstream token`.",
                },
                "certificate": {"type": "mutualTLS", "description": "One of the workers' authority."},
            },
        },
    }


def plain(path: str) -> str:
    """Return a view's path in OpenAPI's notation: without patterns."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


def reference(schema: Any) -> Any:
    """Return the JSON Schema that refers to types of `millstream.web.responses`; a schema is kept as is."""
    found = [{"$ref": REFS.format(name=one.__name__)} for one in _types(schema)]
    return {"anyOf": found} if len(found) > 1 else found[0] if found else schema


def _operation(view: Any, path: str, method: str, operation: Operation, conf: Settings) -> dict[str, Any]:
    summary = (getdoc(type(view)) or "").partition("\n")[0]
    is_open = plain(path) in OPEN
    made = {
        "operationId": view.view_name + (f"-{operation.variant}" if operation.variant else ""),
        "summary": summary,
        "tags": [operation.tag],
        "parameters": [_parameter(one, "path") for one in operation.parts]
        + [_parameter(one, "query") for one in operation.query],
        "responses": _responses(operation, is_open=is_open),
        "security": [] if is_open else _security(method, conf),
    }
    return made | ({"description": operation.about} if operation.about else {})


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": where == "path",
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _responses(operation: Operation, *, is_open: bool) -> dict[str, Any]:
    forms = operation.forms if operation.answer is None else {JSON: operation.answer, **operation.forms}
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": _content(forms)}}
    if operation.cached:
        responses["304"] = {"description": "The client has the current answer."}
    statuses = [400, *([] if is_open else [401, 403])]
    statuses += [404] if operation.unknown else []
    statuses += [] if is_open else [429, 503]
    for status in statuses:
        responses[str(status)] = {"$ref": f"#/components/responses/{_phrase(status)}"}
    if operation.busy is not None:
        errors = {} if is_open else _error(503)["content"]
        responses["503"] = {
            "description": WHY[503],
            "headers": HEADERS[503],
            "content": _content({JSON: operation.busy}) | errors,
        }
    return responses


def _content(forms: Mapping[str, Any]) -> dict[str, Any]:
    return {media: {"schema": reference(schema)} for media, schema in forms.items()}


def _security(method: str, conf: Settings) -> list[dict[str, Any]]:
    token: dict[str, Any] = {"token": [scope_of(method)]}
    certificate: dict[str, Any] = {"certificate": []}
    if conf.tls_ca is None:
        return [token] if conf.tokens else [token, {}]
    return [token, certificate] if conf.tokens else [certificate]


def _error(status: int) -> dict[str, Any]:
    return {
        "description": WHY[status],
        "content": _content({"application/problem+json": Problem}),
        **({"headers": HEADERS[status]} if status in HEADERS else {}),
    }


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def _types(schema: Any) -> list[Any]:
    return [one for one in (schema if isinstance(schema, tuple) else (schema,)) if isinstance(one, type)]
