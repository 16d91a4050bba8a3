"""Laws for containers, for combinators of programs and for codecs: one call checks yours.

The library's own containers, combinators and codecs are checked by the same laws.
"""

from perdure.testing.laws.codec import AnyCodec, check_codec, refuses_or_reads, writes_what_it_reads
from perdure.testing.laws.combinator import Combinator, check_combinator
from perdure.testing.laws.container import check_container
from perdure.testing.laws.drawn_programs import programs
from perdure.testing.laws.law import Law, LawViolated, check_laws

__all__ = [
    "AnyCodec",
    "Combinator",
    "Law",
    "LawViolated",
    "check_codec",
    "check_combinator",
    "check_container",
    "check_laws",
    "programs",
    "refuses_or_reads",
    "writes_what_it_reads",
]
