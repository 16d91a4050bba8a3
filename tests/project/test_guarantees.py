"""The guarantees page names tests that exist, and tests show the claims in the comparison with other systems."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`((?:property_)?tests/[\w/.-]+)?(?:::(\w+))?`")


def named_tests() -> list[tuple[str, str]]:
    """Return every (file, test) that the page names; `::test` belongs to the file named before it."""
    found: list[tuple[str, str]] = []
    file = ""
    for match in NAMED.finditer(PAGE):
        file = match[1] or file
        if match[1] or match[2]:
            found.append((file, match[2] or ""))
    return found


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return functions | assigned | {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize(("file", "test"), sorted(set(named_tests())))
def test_each_named_test_exists(file: str, test: str) -> None:
    path = ROOT / file
    assert path.exists(), f"docs/guarantees.md names {file}"
    if test:
        assert test in names_in(path), f"docs/guarantees.md names {file}::{test}"


def sections() -> dict[str, str]:
    """Return the page's sections by heading."""
    return {section.partition("\n")[0]: section for section in PAGE.split("\n## ")[1:]}


@pytest.mark.parametrize("heading", sections())
def test_every_section_names_a_test(heading: str) -> None:
    assert any(match[1] or match[2] for match in NAMED.finditer(sections()[heading]))


@pytest.mark.parametrize("limit", re.findall(r"^- \*Limits:\*.*?(?=^$)", PAGE, re.MULTILINE | re.DOTALL))
def test_every_limit_precedes_its_tests(limit: str) -> None:
    assert "*Tested by:*" in limit


def test_the_page_names_tests_for_its_guarantees() -> None:
    assert len(named_tests()) >= 30


# ---------------------------------------------------------------- the comparison with other systems
COMPARED = (ROOT / "docs" / "explanation" / "compared-with.md").read_text(encoding="utf-8")

CLAIMS = {
    "you write": ("tests/project/test_structure.py::test_the_top_level_exports_the_names_of_the_first_lessons",),
    "runs on": ("tests/stores/test_postgres_conformance.py", "property_tests/stores/test_stores_agree.py"),
    "several machines": (
        "tests/stores/test_postgres_engines.py::test_requests_through_two_engines_are_each_applied_once",
        "property_tests/sharing/test_takeovers.py::test_runs_are_taken_over_within_the_lease_and_a_second",
    ),
    "state per entity": ("tests/behaviour/test_state_versions.py::test_the_next_commit_writes_the_new_form",),
    "after a crash": (
        "property_tests/behaviour/test_crash_sweep.py::test_a_crash_anywhere_is_recovered",
        "tests/behaviour/test_repeats_table.py::test_a_repeat_has_the_marks_of_the_table",
        "property_tests/workflow/test_workflow_crashes.py::test_a_crash_anywhere_repeats_at_most_the_step_in_progress",
    ),
    "your code must be deterministic": (
        "tests/workflow/test_workflow_deploys.py::test_a_divergence_leaves_it_and_the_right_code_continues",
    ),
    "durable agents": (
        "property_tests/durability/test_agent_kills.py::test_a_killed_agent_repeats_only_the_calls_in_progress",
    ),
    "streams while it runs": (
        "property_tests/durability/test_stream_kills.py::test_a_reader_misses_nothing_over_kills",
    ),
    "large results": (
        "property_tests/durability/test_large_kills.py::test_no_value_is_named_without_its_parts",
        "tests/kinds/test_large_results.py::test_a_large_result_is_read_whole_and_goes_with_its_item",
    ),
    "a backup": (
        "tests/stores/test_sqlite_shipping.py::test_each_shipped_snapshot_is_restored_page_for_page",
        "property_tests/durability/test_shipping_kills.py::test_kills_of_engine_and_backup_lose_nothing_that_was_shipped",
    ),
    "blocking code": (
        "tests/behaviour/test_blocking_code.py::test_threads_run_at_the_same_time_with_the_context_of_the_caller",
        "tests/behaviour/test_blocking_code.py::test_the_death_of_a_process_is_a_defect_of_its_effect_and_of_no_other",
    ),
    "a deploy must fit": (
        "tests/behaviour/test_state_versions.py::test_a_state_of_newer_code_is_left_and_comes_back_with_it",
        "tests/workflow/test_workflow_deploys.py::test_other_code_that_cannot_follow_either_runs_nothing_and_joins_the_mark",
    ),
}
"""The tests that show perdure's cell in each row of the comparison."""


def compared_rows() -> dict[str, list[str]]:
    """Return the cells of the comparison by the row's name, without those names."""
    lines = [line.strip("| ").split(" | ") for line in COMPARED.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines if cells[0] and not cells[0].startswith("perdure")}


def test_tests_show_each_row_of_the_comparison() -> None:
    assert compared_rows().keys() == CLAIMS.keys()
    for named in (named for tests in CLAIMS.values() for named in tests):
        file, _, test = named.partition("::")
        assert (ROOT / file).exists(), named
        assert not test or test in names_in(ROOT / file), named


@pytest.mark.parametrize("row", sorted(CLAIMS))
def test_each_cell_about_another_system_links_to_its_page(row: str) -> None:
    cells = compared_rows()[row][1:]
    assert len(cells) == 5
    assert [cell for cell in cells if not re.fullmatch(r"\[[^]]+\]\(https://\S+\)", cell)] == []


def test_the_comparison_and_the_classifier_agree_on_the_maturity() -> None:
    is_alpha = "Development Status :: 3 - Alpha" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert is_alpha == ("It is alpha." in COMPARED)
