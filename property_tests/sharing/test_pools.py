"""Several engines work on the items of one pool: each item once, also when an engine dies."""

from collections import Counter

import pytest
from pool import Images, Picture, app_of, pool_of

from perdure.testing.cluster import Cluster


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("crash", ["no", "yes"])
def test_every_item_of_a_pool_is_worked_on_by_one_of_two_engines(seed: int, crash: str) -> None:
    images, job = Images(), pool_of(workers=4, workers_per_key=2)
    with Cluster(app_of(images, job), seed=seed) as cluster:
        first, second = cluster.open(), cluster.open()
        for number in range(20):
            picture = Picture(f"k{number % 3}", f"{number}.png")
            engine = first if number % 2 else second
            cluster.run_on(
                engine, lambda client, number=number, picture=picture: client.handle(job).put(f"i{number}", picture)
            )
        if crash == "yes":
            first.crash()
        cluster.advance("30 s")
        assert Counter(row.status for row in cluster.instances()) == {"done": 20}
        calls = Counter(images.urls)
        assert len(calls) == 20
        if crash == "no":
            assert max(calls.values()) == 1
