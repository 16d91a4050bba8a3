"""Bugs behind the first batch, page or group, which only small internal sizes show in a short history."""

from mutant import Mutant

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
)
