"""The API: one `NinjaAPI` with the routers of all apps."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from ninja import NinjaAPI, Swagger
from ninja.openapi.schema import OpenAPISchema
from ninja.parser import Parser

from queuesite import __version__
from queuesite.api import openapi, problems
from queuesite.api.auth import CallerThrottle, check_throttle, needs
from queuesite.api.tasks import router as tasks_router
from queuesite.foundation.errors import QueuesiteError, Unauthenticated
from queuesite.foundation.home import PROGRAM

DESCRIPTION = f"""
The API lets programs do everything that the command line and the admin can do.

**Authentication.** Send a token as `Authorization: Bearer qs_…`. Create it with `{PROGRAM} token create USER` or in the
admin; it has its user's permissions. Pages of the admin use its session, with the CSRF token in `X-CSRFToken`. Each
operation names the permissions that it needs.

**Errors** are problem details (RFC 9457), `application/problem+json`: `type` is a URN that does not change, `detail`
names the value, what was expected and how to fix it, and `errors` says what is wrong with each field.

**Lists** come in pages: `next` is the `cursor` of the next page, until it is null.

**Times** are RFC 3339 in UTC with milliseconds, ids are strings, durations are seconds.

**Long operations** answer 202 with a task; `GET /tasks/{{id}}` has its progress and its result.
"""

View = Callable[..., HttpResponseBase]


class StrictParser(Parser):
    """Accepts only JSON of RFC 8259: UTF-8 without NaN and infinity, which Python's parser accepts."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The body's value. Raises `ValueError`, which ninja answers with 400."""
        # Python guesses the encoding of bytes, and the commas that the middleware counts look different in UTF-16.
        return json.loads(request.body.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:50])


class Api(NinjaAPI):
    """ninja's API, with the problems in its OpenAPI schema."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """The schema, with permissions and problems."""
        return openapi.Schema(self, self.get_root_path(path_params or {}) if path_prefix is None else path_prefix)

    def get_openapi_operation_id(self, operation: Any) -> str:
        """Name each operation by its function, without the module."""
        return str(operation.view_func.__name__)


def _for_the_known(view: View) -> View:
    """Show the docs page and the schema to anybody with a token or the admin's session; send browsers to the login."""

    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            found = next((found for check in needs() if (found := check(request))), None)
            if found is None:
                raise Unauthenticated("send a token: Authorization: Bearer TOKEN")
            request.auth = found  # type: ignore[attr-defined]
            check_throttle(request)
        except QueuesiteError as error:
            if isinstance(error, Unauthenticated) and "text/html" in request.headers.get("Accept", ""):
                return redirect_to_login(request.get_full_path(), reverse("admin:login"))
            return problems.answer(request, error)
        return view(request, **kwargs)

    functools.update_wrapper(guarded, view, assigned=())
    return guarded


class Docs(Swagger):
    """The docs page with the scripts of this site. ninja takes those of a CDN if it is not an app itself."""

    template_cdn = str(settings.NINJA / "templates" / Swagger.template)


api = Api(
    title="Queuesite",
    version=__version__,
    description=DESCRIPTION,
    urls_namespace="api",
    auth=needs(),
    parser=StrictParser(),
    throttle=[CallerThrottle()],
    docs=Docs(settings={"persistAuthorization": True, "displayOperationId": True, "validatorUrl": None}),
    docs_decorator=_for_the_known,
    openapi_extra={"tags": openapi.TAGS},
)
for error_class in problems.KINDS:
    api.add_exception_handler(error_class, problems.answer)  # type: ignore[arg-type]  # ninja's says "or its class"

api.add_router("", tasks_router)
for router in ("queues.api.router", "jobs.api.router"):
    api.add_router("", router)
