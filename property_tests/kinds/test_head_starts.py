"""Head starts are priorities that starve no item: one overtakes only items that were put less than it earlier."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from pool import Images, Picture, app_of, pool_of

from perdure.testing import Delay, World

PUTS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 3, 60])), min_size=2, max_size=12)


@settings(deadline=None, max_examples=20)
@given(puts=PUTS, workers=st.integers(1, 2))
def test_an_item_overtakes_those_that_were_put_less_than_its_head_start_earlier(
    puts: list[tuple[int, int]], workers: int
) -> None:
    """Each is put some seconds after the one before, and its work takes a second."""
    images, job = Images(), pool_of(workers=workers, key=None)
    began_ms: dict[str, int] = {}
    with World(app_of(images, job), debug=False) as world:
        images.heard = lambda url: began_ms.setdefault(url, world.clock.now_ms)
        world.inject(Delay("shrink", "1 second", when="after", times=len(puts)))
        put_ms: dict[str, int] = {}
        for number, (gap, head_start) in enumerate(puts):
            if gap:
                world.advance(f"{gap} seconds")
            put_ms[f"{number}"] = world.clock.now_ms
            picture = Picture("ann", f"{number}")
            options = {"head_start": f"{head_start} seconds"} if head_start else {}
            world.run(world.handle(job).put(f"{number}", picture, **options))
        world.advance("1 minute")
    assert began_ms.keys() == put_ms.keys()
    ranks = {url: put_ms[url] - 1_000 * puts[int(url)][1] for url in put_ms}
    for first, second in permutations(put_ms, 2):
        second_waits = put_ms[second] < began_ms[first] < began_ms[second]
        assert not second_waits or ranks[first] <= ranks[second], (first, second)
