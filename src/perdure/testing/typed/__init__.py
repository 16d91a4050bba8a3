"""Values made from declared types: drawn ones for properties, and the simplest one for examples."""

from perdure.testing.typed.sample import NoSample, examples_of
from perdure.testing.typed.strategy import from_type

__all__ = ["NoSample", "examples_of", "from_type"]
