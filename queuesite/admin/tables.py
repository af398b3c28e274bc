"""The one table of all lists: which columns it has is declared once, and each viewer chooses among them.

`queuesite/_table.html` draws it: fixed columns, the first of which stays in view, and cards on narrow screens. A column
that is not shown costs nothing: a list asks `chosen` before it reads what only that column needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from queuesite.admin.records import back_to

#: How long a viewer's choice of columns is remembered.
REMEMBERED = timedelta(days=365)

#: What a list says of one of its rows. `id` is unique in the list, and `name` names the row for a screen reader.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a list."""

    name: str
    text: str
    #: The content of a row's cell, which is escaped unless it is safe; or the template that draws it from `row`.
    show: Callable[[Row], object] | str
    #: The class that gives its width: `name` (of queues, workers, …), `text`, `wide`, `time`, `medium`, `short`, and
    #: for what is aligned to the right `span` and `age` (of time) or `number`.
    width: str = "short"
    #: What the list is sorted by at a click on the heading; a number descends first.
    sort: str | None = None
    #: Whether it is shown to those who have chosen no columns.
    usual: bool = True
    #: Whether a card on a narrow screen has it.
    on_card: bool = True
    #: What the heading means, for a pointer that rests on it.
    help: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right, and sorted with the highest value first."""
        return self.width in {"number", "span", "age"}


@dataclass(frozen=True)
class Cell:
    """A cell: its content, or the template that draws it."""

    column: Column
    content: object = None
    template: str | None = None


@dataclass(frozen=True)
class Heading:
    """A column's heading, with the address that sorts by it."""

    column: Column
    address: str | None = None
    #: `ascending`, `descending` or None, as aria-sort has it.
    order: str | None = None


@dataclass(frozen=True)
class Tab:
    """A part of a list, with how many are in it (as text; empty: not counted)."""

    text: str
    address: str
    count: str = ""
    current: bool = False


@dataclass(frozen=True)
class Table:
    """A list as the template draws it."""

    name: str
    label: str
    headings: Sequence[Heading]
    rows: Sequence[tuple[Row, Sequence[Cell]]]
    #: Every column that the viewer may choose, and whether it is shown; empty if there is nothing to choose.
    choices: Sequence[tuple[Column, bool]]
    choose: str
    #: The id of the form that the rows' checkboxes belong to. None: rows are not chosen.
    form: str | None = None
    total: str = ""


@dataclass(frozen=True)
class Sorting:
    """How a list is sorted: a column's `sort`, after `-` if it descends; `address` gives that of another order."""

    by: str
    address: Callable[[str], str]

    def heading(self, column: Column) -> Heading:
        """The heading of a column."""
        if column.sort is None:
            return Heading(column)
        current = self.by.removeprefix("-") == column.sort
        descends = not self.by.startswith("-") if current else column.is_number
        order = ("descending" if self.by.startswith("-") else "ascending") if current else None
        return Heading(column, self.address(f"{'-' * descends}{column.sort}"), order)


@dataclass(frozen=True)
class Listing:
    """A list: its name in addresses and cookies, its name for readers, and its columns; the first is always shown."""

    name: str
    label: str
    columns: Sequence[Column]
    #: Columns that need a permission, by name.
    needs: Mapping[str, str] = field(default_factory=dict)
    #: Whether the viewer may choose among the columns.
    may_choose: bool = True

    def chosen(self, request: HttpRequest) -> list[Column]:
        """The columns that this viewer sees."""
        allowed = self._allowed(request)
        text = request.COOKIES.get(_cookie(request, self.name))
        names = {column.name for column in allowed if column.usual} if not text else set(text.split("."))
        return [column for place, column in enumerate(allowed) if place == 0 or column.name in names]

    def table(
        self,
        request: HttpRequest,
        rows: Iterable[Row],
        *,
        sorting: Sorting | None = None,
        form: str | None = None,
        total: str = "",
    ) -> Table:
        """The table of these rows, with this viewer's columns."""
        columns = self.chosen(request)
        return Table(
            self.name,
            self.label,
            [Heading(column) if sorting is None else sorting.heading(column) for column in columns],
            [(row, [_cell(column, row) for column in columns]) for row in rows],
            [(column, column in columns) for column in self._allowed(request)[1:]] if self.may_choose else [],
            f"{reverse('admin:columns', args=[self.name])}?{_next(request)}",
            form,
            total,
        )

    def _allowed(self, request: HttpRequest) -> list[Column]:
        return [
            column
            for column in self.columns
            if column.name not in self.needs or request.user.has_perm(self.needs[column.name])
        ]


def _cell(column: Column, row: Row) -> Cell:
    if isinstance(column.show, str):
        return Cell(column, template=column.show)
    return Cell(column, column.show(row))


def _next(request: HttpRequest) -> str:
    return urlencode({"next": request.get_full_path()})


def _cookie(request: HttpRequest, listing: str) -> str:
    return f"columns-{listing}-{request.user.pk}"


def choose_view(request: HttpRequest, listing: str) -> HttpResponse:
    """Remember the columns that a viewer wants, in a cookie: names of columns, and nothing else."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    answer = HttpResponseRedirect(back_to(request, reverse("admin:index")))
    name, path_ = _cookie(request, listing), reverse("admin:index")
    if "usual" in request.POST:
        answer.delete_cookie(name, path_)
        return answer
    chosen = [one for one in request.POST.getlist("column") if one.replace("_", "").isalnum()][:50]
    answer.set_cookie(
        name,
        ".".join(chosen)[:1_000] or "-",
        max_age=REMEMBERED,
        path=path_,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return answer


def addresses() -> list[URLPattern]:
    """The address to which the chooser of columns is sent."""
    return [path("columns/<slug:listing>/", admin.site.admin_view(choose_view), name="columns")]
