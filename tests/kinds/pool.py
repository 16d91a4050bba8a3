"""A pool of pictures for tests: its services remember their calls, and fail for urls with ``bad``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from attrs import frozen
from returns.future import FutureResult

from perdure import App, Backoff, Do, ItemContext, Retry, WorkerPool, effect, program


@frozen
class Picture:
    customer: str
    url: str


@frozen
class Unreachable:
    url: str


@attrs.define
class Images:
    """Attributes:
    calls: the run and the url of each call.
    heard: called with the url of each call.
    small: the result of each call.
    """

    calls: list[tuple[str, str]] = attrs.field(factory=list)
    heard: Callable[[str], object] = repr
    small: Callable[[str], Any] = "small {}".format

    @property
    def images(self) -> Images:
        return self

    @property
    def urls(self) -> list[str]:
        return [url for _, url in self.calls]

    def shrink(self, run_id: str, url: str) -> FutureResult[str, Unreachable]:
        self.calls.append((run_id, url))
        self.heard(url)
        if "bad" in url:
            return FutureResult.from_failure(Unreachable(url))
        return FutureResult.from_value(self.small(url))


class HasImages(Protocol):
    @property
    def images(self) -> Images: ...


@effect
def shrink(services: HasImages, run_id: str, url: str) -> FutureResult[str, Unreachable]:
    return services.images.shrink(run_id, url)


@program
def thumbnail(ctx: ItemContext[Picture]) -> Do[str, Unreachable, HasImages]:
    picture = yield from ctx.item
    return (yield from shrink(ctx.run_id, picture.url))


def customer(picture: Picture) -> str:
    return picture.customer


def pool_of(**options: Any) -> WorkerPool[Picture, str, Unreachable, HasImages]:
    given: dict[str, Any] = {
        "retry": Retry(max_attempts=3, delay=Backoff.constant("1 minute"), jitter=False),
        "keep": "1 hour",
        "key": customer,
        **options,
    }
    return WorkerPool("thumbnails", item=Picture, work=thumbnail, **given)


thumbnails = pool_of(workers=4, workers_per_key=2)


def app_of(services: Images, *jobs: Any) -> App[Any]:
    return App(services).with_jobs(*(jobs or (thumbnails,)))
