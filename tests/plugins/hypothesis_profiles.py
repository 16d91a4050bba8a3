"""How hard the properties try: `pytest --hypothesis-profile=dev | ci | nightly | mutants`.

`dev` is the default. Hypothesis picks `ci` by itself where the variable `CI` is set. A test that names its own
`max_examples` is not scaled by `nightly`, so name it only where an example is expensive. `mutants` is for the runs that
must fail (`property_tests/mutants`): the same examples each time, and no shrinking.
"""

from hypothesis import HealthCheck, Phase, settings

_patient = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("dev", _patient, max_examples=50)
settings.register_profile("ci", _patient, max_examples=100, derandomize=True, database=None)
settings.register_profile("nightly", _patient, max_examples=1_000, stateful_step_count=100)
settings.register_profile(
    "mutants", _patient, max_examples=100, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)

settings.load_profile("ci" if settings.get_current_profile_name() == "ci" else "dev")
