"""An engine that runs for hours keeps nothing of finished work. The clock is simulated."""

import gc
import tracemalloc

from attrs import evolve, frozen

from perdure import App, Continuous, ContinuousContext, Do, Task, TaskContext, every, program, tell
from perdure.runtime.simulated import Simulation
from perdure.stores.memory import MemoryBackend
from perdure.values.limits import Limits

HOUR_MS = 3_600_000
BESIDE_HOUSEKEEPING_MS = 45_000  # the log is pruned at full hours: so it is measured when it is equally long each time
FEW_OBJECTS = 300  # a cache of some kilobytes fills and empties; one object a run would be 720
FEW_BYTES = 131_072  # the interpreter's free list of small tuples settles after a day


@frozen
class Beats:
    count: int = 0


@program
def on_visit(ctx: TaskContext[int], event: int) -> Do[None]:
    """Come, set an alarm, and go when it fires."""
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="15 seconds")


@program
def leave(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.terminate("over")


visitors = Task("visitors", state=int, event=int, initial=0, on_event=on_visit, execute=leave)


@program
def beat(ctx: ContinuousContext[Beats]) -> Do[None]:
    """Each beat sends a new visitor."""
    beats = yield from ctx.state
    yield from tell(visitors, f"visitor-{beats.count}").send(beats.count)
    yield from ctx.set_state(evolve(beats, count=beats.count + 1))


heart = Continuous("heart", state=Beats, schedule=every("20 seconds"), execute=beat)


def test_five_hours_of_work_leave_nothing_behind() -> None:
    """5 hours: 900 runs, as many messages, instances, alarms and endings."""
    simulation = Simulation(seed=1)
    app = App(None, limits=Limits(history_events=100)).with_jobs(heart, visitors)
    objects: list[int] = []
    sizes: list[int] = []

    async def work() -> None:
        runtime = simulation.runtime
        async with app.open(MemoryBackend().open(), runtime=runtime) as jobs:
            await jobs.handle(heart).start("one", Beats())
            await runtime.sleep(BESIDE_HOUSEKEEPING_MS)
            for _ in range(5):
                await runtime.sleep(HOUR_MS)
                gc.collect()
                objects.append(len(gc.get_objects()))
                sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        simulation.run(work())
    finally:
        tracemalloc.stop()
        simulation.close()
    assert max(objects[1:]) - objects[0] < FEW_OBJECTS, objects
    assert max(sizes[1:]) - sizes[0] < FEW_BYTES, sizes
