"""How hard the properties try: `pytest --hypothesis-profile=fixed | ci | explore | nightly | mutants | few`.

`fixed` is the default: each run draws the same examples, in the same order of tests, so that a run cannot fail by
chance. That needs more than `derandomize`: Hypothesis also draws the constants of the project's modules that happen to
be loaded, so the fixed profiles turn those off: neither a change elsewhere nor an earlier test changes the draws of a
test. Hypothesis picks `ci` by itself where the variable `CI` is set: the same, and no test is left out. `explore` and
`nightly` draw new examples in a new order each time; a failure that they find becomes a fixed example. A test that
names its own `max_examples` is not scaled by `nightly`, so name it only where an example is expensive. `mutants` is for
the runs that must fail (`property_tests/mutants`): the same examples each time, and no shrinking. `few` is for
a rough answer that has to come soon.
"""

import faulthandler

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers

RANDOM = ("explore", "nightly")
SEED = 1  # of the order of the tests, and of `random` within each

_patient = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
_fixed = settings(_patient, derandomize=True, database=None)
_random = settings(_patient, derandomize=False)  # said aloud: where `CI` is set, every default is that of `ci`

settings.register_profile("fixed", _fixed, max_examples=50)
settings.register_profile("ci", _fixed, max_examples=50)
settings.register_profile("explore", _random, max_examples=200)
settings.register_profile("nightly", _random, max_examples=1_000, stateful_step_count=100)
settings.register_profile("mutants", _fixed, max_examples=100, phases=(Phase.explicit, Phase.generate))
settings.register_profile("few", _fixed, max_examples=15, phases=(Phase.explicit, Phase.generate))

settings.load_profile("ci" if settings.get_current_profile_name() == "ci" else "fixed")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Fix the seed of pytest-randomly, unless the profile explores or the caller names a seed."""
    profile = config.getoption("--hypothesis-profile") or settings.get_current_profile_name()
    fixed = profile not in RANDOM
    if fixed:
        draw_no_constants_of_modules()
    if fixed and getattr(config.option, "randomly_seed", None) == "default":
        config.option.randomly_seed = SEED


def draw_no_constants_of_modules() -> None:
    """Draw from the constants of Hypothesis alone, as it does itself where no module counts as local."""
    providers._get_local_constants = lambda: providers._local_constants


def pytest_runtest_setup() -> None:
    """Let a test of `nightly` take its time: a thousand long examples are not a hang."""
    if settings.get_current_profile_name() == "nightly":
        faulthandler.cancel_dump_traceback_later()
