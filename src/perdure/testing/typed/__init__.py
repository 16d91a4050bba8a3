"""Values made from declared types: drawn ones for properties, and the plainest one for examples."""

from perdure.testing.typed.sample import NoSample, samples_of
from perdure.testing.typed.strategy import values_of

__all__ = ["NoSample", "samples_of", "values_of"]
