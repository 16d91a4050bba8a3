"""Measure what `import perdure` costs beyond the libraries it stands on: `python docs/benchmarks/import_time.py`.

Each import runs in a fresh interpreter, the two kinds taking turns so that a busy machine disturbs both alike. The
least of all runs is the cost: noise only ever adds.
"""

import os
import subprocess
import sys

RUNS = 15
BUDGET_MS = 150.0

LIBRARIES = "import attrs, cattrs, returns.future, returns.context, returns.io, returns.result"


def import_ms(statement: str) -> float:
    """Import in a fresh interpreter and say how many milliseconds the import took."""
    code = f"from time import perf_counter as now; start = now(); {statement}; print((now() - start) * 1000)"
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run([sys.executable, "-c", code], env=cached, capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> int:
    """Print the two times and their difference; exit with 1 when the difference is over the budget."""
    import_ms("import perdure")  # writes the byte code
    pairs = [(import_ms(LIBRARIES), import_ms(f"{LIBRARIES}; import perdure")) for _ in range(RUNS)]
    libraries_ms, both_ms = (min(times) for times in zip(*pairs, strict=True))
    own_ms = both_ms - libraries_ms
    print(f"libraries alone  {libraries_ms:6.1f} ms")
    print(f"with perdure     {both_ms:6.1f} ms")
    print(f"perdure itself   {own_ms:6.1f} ms (budget {BUDGET_MS:.0f} ms)")
    return int(own_ms > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
