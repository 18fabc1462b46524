"""An OpenAPI 3.1 description of the views that are served, from what they and the guard declare."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from inspect import getdoc
from typing import Any

import msgspec

from app.settings import Settings
from app.web.answers import NotRead, Partial, Problem, Read
from app.web.guard import OPEN, scope_of
from app.web.parameters import Parameter

JSON = "application/json"
TEXT = {"type": "string"}
PAGES = "pages"
REFS = "#/components/schemas/{name}"

ABOUT = """\
Live tables and health of an event pipeline. Any worker answers for any key. What an answer guarantees, and \
what a table of each kind says, is in `docs/queries.md`; who may ask, in `docs/security.md`.

Each view also takes `HEAD`."""
# Why there is an error.
WHY = {
    400: "The request cannot be understood: a parameter cannot be read, or there is none of that name.",
    401: "A known token is wanted.",
    403: "The token has not the scope.",
    404: "There is no such thing; `detail` says what there is.",
    429: "This client asks too often.",
    503: "Not now: partitions move, or what is needed does not answer. `Retry-After` says when to ask again.",
}
HEADERS = {
    401: {"WWW-Authenticate": {"description": "As in RFC 6750.", "schema": TEXT}},
    403: {"WWW-Authenticate": {"description": "As in RFC 6750; with the scope.", "schema": TEXT}},
    429: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
    503: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
}


@dataclass(frozen=True)
class Operation:
    """What is told of a view, at one path.

    Attributes:
        tag: what it belongs to.
        answer: what it answers with: a type of `app.web.answers`, several, or a JSON Schema; None if that is
            no JSON.
        busy: what it answers in JSON with 503.
        forms: other media types of its answers, and their JSON Schemas.
        path: where it is, if the view is at several places; else the view's own path.
        variant: what its id ends with, then.
        parts: parameters of the path.
        query: parameters of the query string.
        about: what more there is to say.
        unknown: whether what is asked for may be none.
        cached: whether a client that has the answer gets 304.
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


_told: dict[str, Callable[[], Iterable[Operation]]] = {}


def told(what: Operation | Callable[[], Iterable[Operation]]) -> Callable[[Any], Any]:
    """Tell what a view takes and answers; a function, if that depends on the tables that there are."""

    def tell(view: Any) -> Any:
        _told[view.view_path] = (lambda: [what]) if isinstance(what, Operation) else what
        return view

    return tell


def document(views: Mapping[str, Any], conf: Settings, types: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the description.

    Args:
        views: Faust's, by path.
        conf: says whether tokens are asked for.
        types: those in the answers of tables.
    """
    paths: dict[str, dict[str, Any]] = {}
    used: list[Any] = [Problem, Read, NotRead, Partial, *types]
    tags: dict[str, None] = {}
    for path, view in views.items():
        operations = _told.get(path, lambda: [Operation()])()
        for operation in operations:
            used += _types(operation.answer) + _types(operation.busy)
            tags[operation.tag] = None
            place = paths.setdefault(operation.path or plain(path), {})
            for method in sorted(view.get_methods() - {"HEAD"}):
                place[method.lower()] = _operation(view, path, method, operation, conf)
    _, schemas = msgspec.json.schema_components(dict.fromkeys(used), ref_template=REFS)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millstream", "version": _version(), "description": ABOUT},
        "tags": [{"name": tag} for tag in sorted(tags, key=PAGES.__eq__)],  # those last
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
                    "description": "A token that `millstream token` has made.",
                },
                "certificate": {"type": "mutualTLS", "description": "Of the workers' authority."},
            },
        },
    }


def plain(path: str) -> str:
    """Return a view's path as OpenAPI writes it: without patterns."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


def reference(schema: Any) -> Any:
    """Return the JSON Schema of types of `app.web.answers`; what is one stays."""
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
        responses["304"] = {"description": "The client has it."}
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


@cache
def _version() -> str:
    return version("millstream")
