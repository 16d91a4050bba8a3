"""Every planted mutant."""

import planted_alarms
import planted_answers
import planted_attributes
import planted_blocking
import planted_cancelling
import planted_deploys
import planted_durability
import planted_engine
import planted_examples
import planted_fast_path
import planted_feeder
import planted_journals
import planted_kinds
import planted_limits
import planted_metrics
import planted_outside
import planted_pool
import planted_races
import planted_rehearsals
import planted_remote
import planted_rest
import planted_restate
import planted_schedules
import planted_serving
import planted_sharing
import planted_sizes
import planted_stores
import planted_streams
import planted_surface
import planted_topics
import planted_turns
import planted_values
import planted_versions
import planted_workflow
from mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *planted_values.MUTANTS,
    *planted_versions.MUTANTS,
    *planted_turns.MUTANTS,
    *planted_kinds.MUTANTS,
    *planted_workflow.MUTANTS,
    *planted_cancelling.MUTANTS,
    *planted_answers.MUTANTS,
    *planted_blocking.MUTANTS,
    *planted_journals.MUTANTS,
    *planted_engine.MUTANTS,
    *planted_limits.MUTANTS,
    *planted_metrics.MUTANTS,
    *planted_pool.MUTANTS,
    *planted_rehearsals.MUTANTS,
    *planted_remote.MUTANTS,
    *planted_rest.MUTANTS,
    *planted_restate.MUTANTS,
    *planted_schedules.MUTANTS,
    *planted_sizes.MUTANTS,
    *planted_stores.MUTANTS,
    *planted_streams.MUTANTS,
    *planted_surface.MUTANTS,
    *planted_topics.MUTANTS,
    *planted_durability.MUTANTS,
    *planted_deploys.MUTANTS,
    *planted_serving.MUTANTS,
    *planted_sharing.MUTANTS,
    *planted_examples.MUTANTS,
    *planted_fast_path.MUTANTS,
    *planted_races.MUTANTS,
    *planted_feeder.MUTANTS,
    *planted_alarms.MUTANTS,
    *planted_attributes.MUTANTS,
    *planted_outside.MUTANTS,
)
