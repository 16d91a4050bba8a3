"""The kit for testing jobs and stores. Nothing else in the library imports it, nor hypothesis or pytest."""

from perdure.testing.evolution import EvolutionLoses, check_evolution
from perdure.testing.explanation import explain, explained
from perdure.testing.fault import Crash, Delay, Fail, Fault, Faults, Raise, TimeOut
from perdure.testing.machine import InstanceView, JobMachine, LawBroken, Model
from perdure.testing.simulation.delivery import Delivered, assert_whole_or_nothing, deliver
from perdure.testing.simulation.exploration import every_fault, faults
from perdure.testing.simulation.oracle import NoAnswer, Oracle, oracles
from perdure.testing.simulation.run import simulate
from perdure.testing.simulation.simulated import Cut, Drafted, NeverRun, Simulated, Stuck
from perdure.testing.simulation.stage import Stage, on_stage
from perdure.testing.simulation.step import Limited, Logged, Performed, Slept, Step, Unanswered, Used
from perdure.testing.typed import NoSample, samples_of, values_of
from perdure.testing.world import Clock, WorkerDied, World

__all__ = [
    "Clock",
    "Crash",
    "Cut",
    "Delay",
    "Delivered",
    "Drafted",
    "EvolutionLoses",
    "Fail",
    "Fault",
    "Faults",
    "InstanceView",
    "JobMachine",
    "LawBroken",
    "Limited",
    "Logged",
    "Model",
    "NeverRun",
    "NoAnswer",
    "NoSample",
    "Oracle",
    "Performed",
    "Raise",
    "Simulated",
    "Slept",
    "Stage",
    "Step",
    "Stuck",
    "TimeOut",
    "Unanswered",
    "Used",
    "WorkerDied",
    "World",
    "assert_whole_or_nothing",
    "check_evolution",
    "deliver",
    "every_fault",
    "explain",
    "explained",
    "faults",
    "on_stage",
    "oracles",
    "samples_of",
    "simulate",
    "values_of",
]
