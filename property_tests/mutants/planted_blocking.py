"""Bugs in code that blocks: threads, processes, and the watch over the event loop."""

from mutant import Mutant

CODE = "tests/behaviour/test_blocking_code.py"
LOOP = "tests/runtime/test_blocked_loop.py"
WORK = f"{LOOP}::test_a_loop_with_much_work_is_not_blocked"
EDGE = f"{LOOP}::test_code_is_found_when_it_has_held_the_loop_for_the_limit"

MUTANTS = (
    Mutant(
        "a cancelled run leaves its thread alone",
        "_Elsewhere._in_thread",
        "                await _ended(ended)\n",
        "                pass\n",
        f"{CODE}::test_a_timeout_waits_for_the_thread_which_learns_of_it",
    ),
    Mutant(
        "a second cancellation leaves the thread alone",
        "_ended",
        "with suppress(asyncio.CancelledError):\n            await asyncio.wait((future,))",
        "await asyncio.wait((future,))",
        f"{CODE}::test_a_cancelled_task_waits_for_its_thread_however_often_it_is_cancelled",
    ),
    Mutant(
        "a call that waits for a thread is made although it is cancelled",
        "_Elsewhere._in_thread",
        "            if not job.cancel():\n",
        "            if not job.done():\n",
        f"{CODE}::test_a_call_that_still_waits_for_a_thread_is_cancelled_and_never_made",
    ),
    Mutant(
        "a thread has no context variables",
        "_Elsewhere._in_thread",
        "context = contextvars.copy_context()",
        "context = contextvars.Context()",
        f"{CODE}::test_threads_run_at_the_same_time_with_the_context_of_the_caller",
    ),
    Mutant(
        "the limit of threads is not the engine's",
        "_asyncio_runtime",
        "asyncio_runtime(threads=limits.threads, processes=limits.processes)",
        "asyncio_runtime(processes=limits.processes)",
        f"{CODE}::test_an_engine_has_the_threads_of_its_limits",
    ),
    Mutant(
        "the exit of a process ends this one",
        "_perform_packed",
        "except BaseException as raised:",
        "except Exception as raised:",
        f"{CODE}::test_a_process_that_exits_does_not_end_this_one",
    ),
    Mutant(
        "a loop with much work counts as blocked",
        "LoopWatch.look",
        "if (step := step_of(frame)) is not self._step:",
        "if (step := step_of(frame)) is not self._step and self._step is None:",
        WORK,
    ),
    Mutant(
        "code is found one look too late",
        "LoopWatch.look",
        "if self.now_ms() - self._since_ms < self.limit_ms:",
        "if self.now_ms() - self._since_ms <= self.limit_ms:",
        EDGE,
    ),
    Mutant(
        "the same wait is told at each look",
        "LoopWatch.look",
        "            if self._found is not None:\n                return\n",
        "",
        f"{LOOP}::test_code_is_told_once_for_each_time",
    ),
    Mutant(
        "a second wait of the loop is not found",
        "LoopWatch._answer",
        "self._asked, self._step, self._found = False, None, None",
        "self._asked, self._step = False, None",
        f"{LOOP}::test_code_is_told_once_for_each_time",
    ),
    Mutant(
        "an idle loop is woken",
        "LoopWatch.look",
        "                if is_of_loop(frame):\n                    return\n",
        "",
        f"{LOOP}::test_an_idle_loop_is_not_woken",
    ),
    Mutant(
        "each call that blocks is logged again",
        "LoopReports.began",
        "        self._logged.add(place)\n",
        "",
        f"{LOOP}::test_a_place_is_logged_once",
    ),
)
