"""The base of all resources' schemas: names in camelCase, times in RFC 3339, pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from queuesite.foundation.clock import rfc3339

#: A time in an answer: UTC with milliseconds.
Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-24T08:15:00.123Z"]}),
]


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _rfc3339(value: Any) -> Any:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("expected a time of RFC 3339 with its offset, such as 2026-11-24T08:15:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time between the years 1 and 9999") from None


#: A time in a request.
Moment = Annotated[
    datetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-24T08:15:00Z"]}),
]

#: An ObjectId, as text.
Id = Annotated[str, BeforeValidator(str), Field(examples=["6ae3f1c2d4b5a69788990011"])]


class Out(BaseModel):
    """The base of answers and their parts."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True)


class In(BaseModel):
    """The base of bodies and their parts. Unknown members are refused, and numbers are not taken for text."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class Query(BaseModel):
    """The base of parameters. Unknown ones are refused, so that a misspelt filter does not return everything."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _all_of_them(cls, data: Any, info: ValidationInfo) -> Any:
        """Add the parameters that ninja drops because it does not know them, so that they are refused."""
        request = (info.context or {}).get("request")
        if request is None or not isinstance(data, dict):
            return data
        known = {field.alias for field in cls.model_fields.values()}
        return {**data, **{name: value for name, value in request.GET.items() if name not in known}}


T = TypeVar("T")

DEFAULT_PAGE = 50
MAX_PAGE = 200


class Paged(Query):
    """The parameters of every list."""

    limit: int = Field(DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="largest number of items")
    cursor: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="`next` of the previous page; keep the other parameters unchanged",
    )


class Page(Out, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(None, description="the `cursor` of the next page; null on the last page")
