"""Bugs in the metrics for Prometheus."""

from mutant import Mutant

LABELS = "tests/telemetry/test_prometheus_counting.py::test_hostile_events_add_no_labels_but_those_of_definitions"
LEFT = (
    "tests/telemetry/test_prometheus_counting.py::test_instances_that_code_left_are_counted_by_the_class_of_the_problem"
)
SCRAPES = "tests/telemetry/test_prometheus.py::test_many_scrapes_read_the_store_once"
HANGS = (
    "tests/telemetry/test_prometheus.py"
    "::test_a_store_that_hangs_delays_a_scrape_by_two_seconds_at_most_and_is_read_once"
)
PIECES = "tests/telemetry/test_prometheus.py::test_a_large_page_is_rendered_in_pieces_and_equals_one_rendered_at_once"

MUTANTS = (
    Mutant(
        "a label is the name of a job that is not served",
        "KnownJobs.of_job",
        "self.by_job.get((kind, name), _UNSERVED)",
        "self.by_job.get((kind, name), JobLabels((kind, name)))",
        LABELS,
    ),
    Mutant(
        "a label is any action",
        "one_of",
        "return value if value in known else OTHER",
        "return value",
        LABELS,
    ),
    Mutant(
        "a label is any problem of code",
        "Counting._left",
        "one_of(LEFT_REASONS, event.error_type)",
        "event.error_type",
        LEFT,
    ),
    Mutant(
        "two scrapes render two pages",
        "MetricsPage.expose",
        "if rendering is None or rendering.done():",
        "if True:",
        SCRAPES,
    ),
    Mutant(
        "the readings of a store that hangs are old",
        "EngineReader.refresh",
        "            self._health = self._counts = self._members = None\n",
        "            pass\n",
        HANGS,
    ),
    Mutant(
        "a page is rendered at once",
        "MetricsPage._render",
        "                await self.runtime.sleep(0)\n",
        "",
        PIECES,
    ),
)
