"""Bugs in the loop of alarms, which only some interleavings of reads, turns and commits show."""

from mutant import Mutant

ALARMS = "engine/test_alarms_model.py::test_each_due_alarm_has_its_turn"

MUTANTS = (
    Mutant(
        "an alarm that the turn has set is forgotten",
        "Alarms._done",
        "        if fired.then_due is not None:\n            self._add(fired.address, fired.then_due)\n",
        "",
        ALARMS,
    ),
    Mutant(
        "an earlier alarm does not wake the loop",
        "Alarms._add",
        "            self.wake.bring_forward(due_ms)",
        "            pass",
        ALARMS,
    ),
    Mutant(
        "a sleep that was brought forward waits for its first instant",
        "Waker.bring_forward",
        "        self._until_ms = at_ms\n",
        "",
        "engine/test_waiting_model.py::test_a_sleep_that_is_brought_forward_ends_then_and_the_next_one_does_not",
    ),
    Mutant(
        "a commit of unknown outcome reads no alarms",
        "Alarms.doubt",
        "        self._timers.doubt(self.runtime.now_ms())\n",
        "",
        ALARMS,
    ),
    Mutant(
        "the read of a full batch ends the reading",
        "Alarms._read",
        "self._timers.end_reading(last_ms)",
        "self._timers.end_reading(until_ms + 1)",
        ALARMS,
    ),
    Mutant(
        "an alarm of a held job is read and fired",
        "Alarms._may_fire",
        "or job in self.holds.jobs ",
        "",
        ALARMS,
    ),
    Mutant(
        "an alarm in progress is fired again",
        "Alarms._fire",
        "if address not in self._fired and self._may_fire(address)",
        "if self._may_fire(address)",
        ALARMS,
    ),
    Mutant(
        "more alarms are in progress than the limit",
        "Alarms._may_fire",
        "if self._places.has(job):",
        "if True:",
        ALARMS,
    ),
    Mutant(
        "the alarms of a job that was left out are not read again",
        "Alarms._leave_place",
        "            self.doubt()\n",
        "",
        ALARMS,
    ),
    Mutant(
        "all jobs share the room of alarms",
        "Places.has",
        "mine is None or mine + self.total < 2 * self.limit",
        "self.total < self.limit",
        "tests/behaviour/test_slots.py::test_an_alarm_does_not_wait_for_the_alarms_of_another_job",
    ),
    Mutant(
        "an alarm whose turn failed is not fired again",
        "Alarms._answered",
        "lambda: self._fire_again(fired)",
        "lambda: self._failed.pop(fired)",
        ALARMS,
    ),
    Mutant(
        "an alarm whose turn failed is forgotten unless a commit wrote it",
        "Alarms._fire_again",
        "            fired.then_due = fired.due_ms\n",
        "            pass\n",
        ALARMS,
    ),
    Mutant(
        "a failed alarm is fired again without a pause",
        "Alarms._answered",
        'type(answer) is Failure and self._phase == "open"',
        "False",
        ALARMS,
    ),
    Mutant(
        "the loop sleeps behind the next alarm",
        "Alarms._sleep",
        "None if self._sleeping_until_ms == NEVER_MS else self._sleeping_until_ms",
        "None",
        ALARMS,
    ),
    Mutant(
        "a full queue of alarms forgets the latest",
        "TimerQueue._drop_latest",
        "        self._go_back(end_of(first_ms - 1), first_ms)\n",
        "",
        ALARMS,
    ),
    Mutant(
        "a read that began before a doubt is taken",
        "TimerQueue.read",
        '        if self._reading == "outdated":\n            return\n',
        "",
        ALARMS,
    ),
    Mutant(
        "an alarm that is set during a read is forgotten",
        "TimerQueue.add",
        "            self._added_since.append((address, due_ms))",
        "            pass",
        ALARMS,
    ),
    Mutant(
        "a row that was read before its alarm was moved begins a turn",
        "Alarms._is_written",
        "return kept is not None and ",
        "return kept is None and ",
        "tests/behaviour/test_alarms.py::test_a_row_that_was_read_before_its_alarm_was_moved_begins_no_turn",
    ),
)
