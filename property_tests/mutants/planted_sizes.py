"""Bugs behind the first batch, page or group, which only small internal sizes show in a short history."""

from mutant import Mutant

TURNS = "engine/test_fair_turns.py"
KINDS = "behaviour/test_healthy_kinds.py::test_every_healthy_history_ends_without_an_operator"

MUTANTS = (
    Mutant(
        "declared instances beyond those that are created together are forgotten",
        "Ensuring._create_each",
        "        for declared in waiting:\n",
        "        for declared in (next(waiting),):\n",
        f"{KINDS}[memory]",
    ),
    Mutant(
        "turns beyond those that run in a row never run",
        "Dispatcher._serve_later",
        "            self.runtime.call_soon(partial(self._serve, cell))\n",
        "            pass\n",
        f"{KINDS}[memory]",
    ),
    Mutant(
        "requests beyond SQLite's largest group are dropped",
        "_Queue.serve",
        "self.waiting[: self.largest], self.waiting[self.largest :]",
        "self.waiting[: self.largest], []",
        f"{KINDS}[sqlite]",
    ),
    Mutant(
        "an index of the memory store loses an entry when its block is divided",
        "Ordered._split",
        "[block[:half], block[half:]]",
        "[block[:half], block[half + 1 :]]",
        f"{KINDS}[memory]",
    ),
    Mutant(
        "the first page of a store at rest is the last one",
        "Reader.pages",
        "            if len(rows) < page:\n                return\n",
        "            return\n",
        "tests/stores/test_at_rest.py::test_every_table_is_read_whole_in_pages_of_any_size[sqlite]",
    ),
    Mutant(
        "a read of lanes takes any number of instances of each",
        "FairQueue.share",
        "min(share, read,",
        "min(read,",
        f"{TURNS}::test_a_read_takes_no_more_of_a_lane_and_of_all_than_the_sizes_say",
    ),
    Mutant(
        "a lane is read again once it is empty, and not before",
        "FairQueue._mark",
        "len(known.entries) < self.sizes.lane_low",
        "len(known.entries) < 1",
        f"{TURNS}::test_a_lane_is_read_again_before_it_is_empty",
    ),
    Mutant(
        "lanes with many unclaimed items are not read",
        "_groups",
        "    yield from ([lane] for lane in many)\n",
        "",
        "engine/test_lane_feeder_model.py::test_each_lane_is_read_once_and_one_with_many_unclaimed_items_alone",
    ),
    Mutant(
        "the longest waiting item is that of the first lane",
        "LaneFeeder.oldest",
        "names.unwrap(), 1)",
        "names.unwrap()[:1], 1)",
        "tests/kinds/test_worker_pool.py::test_the_longest_waiting_item_is_that_of_the_first_keys[memory-2-b]",
    ),
    Mutant(
        "a step decides all of its events",
        "EventBatch._end_step",
        "self.cells[: self._largest], self.cells[self._largest :]",
        "self.cells, []",
        "tests/behaviour/test_event_batches.py::test_a_step_decides_some_events_and_the_next_one_the_others[2-steps1]",
    ),
    Mutant(
        "a long answer stays in memory with its key",
        "KnownKeys._keep",
        "len(remembered.answer) > self._sizes.known_answer",
        "False",
        "engine/test_resident_laws.py::test_the_keys_in_memory_are_the_newest_with_a_short_answer",
    ),
    Mutant(
        "a search in SQLite reads past its bound",
        "SqliteStore._search",
        "Search.of(query, self._sizes.searched_rows)",
        "Search.of(query, 1_000_000)",
        "stores/test_reads_together.py::test_a_search_reads_a_chunk_at_a_time_up_to_its_bound[2-4]",
    ),
    Mutant(
        "the tracebacks of twenty steps are lost when they fail again",
        "Replay.failed",
        " if path != step.path)",
        ")",
        "tests/workflow/test_workflow_limits.py::test_twenty_steps_that_fail_together_keep_their_tracebacks[2-20-20]",
    ),
    Mutant(
        "a row that another process has sent is saved again",
        "send_waiting",
        "of_row.update(error=str(error))",
        'row.save(update_fields=["error"])',
        "tests/integrations/test_django.py::test_a_row_that_another_process_sends_meanwhile_is_no_error[True]",
    ),
)
