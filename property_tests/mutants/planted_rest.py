"""Bugs that leave something behind in the engine: places, counters, timers, tasks, callers without an answer."""

from mutant import Mutant

CROWDS = "behaviour/test_crowds.py::test_who_stays_is_served_and_nothing_remains"
GATE = "engine/test_gate_laws.py::test_places_are_bounded_fair_and_never_lost"
ENTRANCE = "engine/test_gate_laws.py::test_a_call_at_the_entrance_lets_in_the_first_who_still_waits"
STOPPED = "behaviour/test_cancel_sweep.py::test_the_engine_is_stopped_anywhere"
LOST = "behaviour/test_doubt.py::test_a_lost_answer_heals_without_a_restart"
GIVEN_UP = "behaviour/test_doubt.py::test_a_lost_answer_leaves_nothing_undone_if_its_caller_gives_up"
LOST_AT_STOP = "behaviour/test_doubt.py::test_answers_that_are_lost_during_a_stop_leave_nothing_behind"
GAVE_UP = "behaviour/test_cancel_sweep.py::test_a_caller_gives_up_anywhere"

MUTANTS = (
    Mutant(
        "a run that stops waiting as it is let in keeps its place",
        "engine/concurrency_limit.py",
        "                self.leave(company)  # it was admitted in the same moment\n",
        "                pass\n",
        GATE,
    ),
    Mutant(
        "a newcomer overtakes a run that must go alone",
        "engine/concurrency_limit.py",
        "if not self._waiting and self._has_room(company):",
        "if self._has_room(company):",
        GATE,
    ),
    Mutant(
        "the gate of a job keeps the place of a run that gave up before the engine's",
        "engine/concurrency_limit.py",
        '                gate.leave("beside_others")\n            raise',
        "                pass\n            raise",
        GATE,
    ),
    Mutant(
        "a run that goes alone leaves the gate locked",
        "engine/concurrency_limit.py",
        '            self._alone = "nobody"\n        while',
        "            pass\n        while",
        GATE,
    ),
    Mutant(
        "a caller who gives up when called lets nobody in",
        "engine/admission_queue.py",
        "                self.call(before)\n            raise",
        "                pass\n            raise",
        ENTRANCE,
    ),
    Mutant(
        "a request that was taken back is counted for ever",
        "engine/dispatcher.py",
        "            self._leave(item)\n            return None",
        "            return None",
        CROWDS,
    ),
    Mutant(
        "a run that is interrupted before it began keeps its place",
        "engine/turn.py",
        "            if not isinstance(verdict, RunsApart):\n",
        "            if not isinstance(verdict, RunsApart) and not mailbox.is_interrupted:\n",
        CROWDS,
    ),
    Mutant(
        "a run that ended keeps its timer",
        "engine/time_limit.py",
        "            timer.cancel()",
        "            pass",
        STOPPED + "[task: next event with effects-before]",
    ),
    Mutant(
        "a run beside the mailbox keeps its place",
        "engine/dispatcher.py",
        "            self.turns.gates.leave(mailbox.job_name, execute.alone)\n",
        "            pass\n",
        GAVE_UP + "[debounce: a flush by hand-before]",
    ),
    Mutant(
        "an alarm that was cut by the stop is tried again in a second",
        "engine/alarms.py",
        'if isinstance(answer, Failure) and self._phase == "open":',
        "if isinstance(answer, Failure):",
        STOPPED + "[task: an alarm-before]",
    ),
    Mutant(
        "who waits in a mailbox when the engine stops is not answered",
        "engine/dispatcher.py",
        "                    self._answer(item, Failure(EngineClosed()))",
        "                    pass",
        STOPPED + "[task: a terminate during a run-before]",
    ),
    Mutant(
        "a stopped engine looks after a claim in a second",
        "engine/dispatcher.py",
        """        if self.door == "closed":
            return  # the next start recovers it

""",
        "",
        LOST_AT_STOP + "[task: next event with effects-after]",
    ),
    Mutant(
        "a stopped engine offers a message again in a second",
        "engine/outbox.py",
        """            timer.cancel()
            self._settled(pair)""",
        "            pass",
        LOST_AT_STOP + "[task: an event that ends the instance-before]",
    ),
    Mutant(
        "a claim of unknown outcome is forgotten",
        "engine/turn.py",
        """                if isinstance(refused.failure(), OutcomeUnknown):
                    self.left_claimed(mailbox)
""",
        "",
        GIVEN_UP + "[task: next event with effects-after]",
    ),
    Mutant(
        "a run whose end is of unknown outcome is forgotten",
        "engine/turn.py",
        """                self.left_claimed(mailbox)
                return TurnAnswered(Failure(_not_stored(error)))""",
        "                return TurnAnswered(Failure(_not_stored(error)))",
        GIVEN_UP + "[task: next event with effects-before]",
    ),
    Mutant(
        "what a commit of unknown outcome set in motion is not looked for",
        "engine/running.py",
        """        self.alarms.doubt()
        self.outbox.wake.ring()
""",
        "",
        LOST + "[task: a keyed event that tells, and begins an instance-after]",
    ),
)
