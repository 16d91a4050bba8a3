"""The pages of the dashboard by their paths: the data that each needs, and the function that shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote

import attrs

from perdure.dashboard.dead_letters import dead_letters_page
from perdure.dashboard.frame import Frame
from perdure.dashboard.instance import instance_page
from perdure.dashboard.instances import Wanted, instances_page
from perdure.dashboard.jobs import job_page, jobs_page
from perdure.dashboard.overview import overview_page
from perdure.dashboard.page import Page
from perdure.dashboard.parked import parked_page
from perdure.server.dashboard_data import PageSource, whole
from perdure.server.tokens import Scope
from perdure.values.address import Address, Job, check_id
from perdure.values.errors import InvalidArgument

T = TypeVar("T")

Query: TypeAlias = Mapping[str, str]

_FILTERS: Final = tuple(field.name for field in attrs.fields(Wanted))


@attrs.frozen
class ShownPage:
    """A page with its data.

    Attributes:
        data: the record behind the page: its JSON twin.
        show: returns the page.
    """

    data: object
    show: Callable[[Frame], Page]


@attrs.frozen
class Route:
    """A page that can be requested.

    Attributes:
        needs: the scope of its caller.
        collect: collects the data.
    """

    needs: Scope
    collect: Callable[[PageSource], Awaitable[ShownPage]]


def _route(
    read: Callable[[PageSource], Awaitable[T]], show: Callable[[Frame, T], Page], needs: Scope = "read"
) -> Route:
    async def collect(source: PageSource) -> ShownPage:
        data = await read(source)
        return ShownPage(data, lambda frame: show(frame, data))

    return Route(needs, collect)


def page_at(path: str, query: Query, /) -> Route | None:
    """Return the page of a path below the dashboard; None if there is none.

    Args:
        path: its path, percent-encoded, such as ``/jobs/task/orders``.
        query: its parameters; unknown ones are ignored.

    Raises:
        InvalidArgument: a part of the path or a parameter is not valid.
        InvalidId: the id is not valid.
    """
    route: Route | None = None
    match [_decoded(part) for part in path.strip("/").split("/")]:
        case [""]:
            route = _route(PageSource.overview, overview_page)
        case ["instances"]:
            wanted = Wanted(**{name: query.get(name, "") for name in _FILTERS})
            route = _route(lambda source: source.instances(wanted), instances_page)
        case ["jobs"]:
            route = _route(PageSource.jobs, jobs_page)
        case ["jobs", kind, name]:
            route = _route(lambda source: source.job(kind, name), job_page)
        case ["jobs", kind, name, "instances", id_]:
            route = _instance(Address(kind, name, check_id(id_)), query)
        case ["parked"]:
            route = _route(lambda source: source.parked(query.get("after", "")), parked_page)
        case ["dead-letters"]:
            after = whole(query.get("after", "0"), "after")
            item = query.get("item", "")
            route = _route(lambda source: source.dead_letters(after, item), dead_letters_page, "operate")
        case _:
            pass
    return route


def _instance(address: Address, query: Query) -> Route:
    before = query.get("before")
    number = None if before is None else whole(before, "before")
    reveals = query.get("secrets") == "shown"
    return _route(lambda source: source.instance(address, number, reveals=reveals), instance_page)


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidArgument("part of the path", part, "percent-encoded UTF-8") from error


def job_of(params: Mapping[str, Any], /) -> Job:
    """Return the job in the path of a route.

    Raises:
        InvalidArgument: a part is not UTF-8.
    """
    return _decoded(params["kind"]), _decoded(params["name"])


def instance_of(params: Mapping[str, Any], /) -> Address:
    """Return the instance in the path of a route.

    Raises:
        InvalidArgument: a part is not UTF-8.
        InvalidId: the id is not valid.
    """
    kind, name, id_ = (_decoded(params[part]) for part in ("kind", "name", "id"))
    return Address(kind, name, check_id(id_))
