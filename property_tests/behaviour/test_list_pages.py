"""The pages of a list: together they are the instances that the filter names, and each says where it stopped."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import App, Do, Task, TaskContext, program
from perdure.testing import World


@program
def handle(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)


tasks = Task("tasks", state=int, event=int, initial=0, on_event=handle)
app: App[None] = App(None).with_jobs(tasks)


@pytest.mark.parametrize("store", ["memory://", "file"])
@settings(max_examples=30)  # each opens a store
@given(paused=st.lists(st.booleans(), max_size=8), limit=st.integers(1, 4), scanned=st.none() | st.integers(1, 4))
def test_the_pages_of_a_list_are_its_instances_in_order(
    store: str, paused: list[bool], limit: int, scanned: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = store if store == "memory://" else tmp_path_factory.mktemp("list") / "jobs.db"
    with World(app, store=place) as world:
        job, found, after = world.handle(tasks), list[str](), None
        for number, is_paused in enumerate(paused):
            world.run(job.send(f"{number}", number))
            if is_paused:
                world.run(job.pause(f"{number}"))
        expected = [f"{number}" for number, is_paused in enumerate(paused) if is_paused]
        for _ in range(len(paused) + 2):
            page = world.run(world.jobs.list(status="paused", after=after, limit=limit, max_scanned=scanned))
            found += [each.address.id for each in page]
            assert len(page) <= limit
            assert page.partial == (len(page) < limit and page.after is not None)
            assert not page.partial or scanned is not None
            if page.after is None:
                break
            after = page.after
        assert (found, page.after) == (expected, None)
