"""The app of the engine that is killed while remote clients send to it: each instance adds numbers."""

from returns.result import Result, Success

from perdure import App, Decision, Limits, Task


def add(total: int, event: int) -> Result[Decision[int], str]:
    """Add a number: a request that is applied twice shows in the total."""
    return Success(Decision(total + event))


adder = Task("adder", state=int, event=int, initial=0, decide=add, execute=lambda ctx: ctx.terminate("unused"))
app = App(None, limits=Limits(shutdown_timeout="5 seconds")).with_jobs(adder)
