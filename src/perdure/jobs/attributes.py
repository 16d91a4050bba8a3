"""Computes attributes: the keys of a state, the changes of a transition, and what identifies the functions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from perdure.codecs import fingerprint
from perdure.jobs.code_fingerprint import function_texts, read_by
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.suspension import visible_text
from perdure.values.attributes import FAILED, Attribute, AttributeKeys, AttributeType, KeyRange, StoredAttribute
from perdure.values.instance import Instance
from perdure.values.secret import HIDDEN, texts_of

_DIGITS: Final = 16
_SECRET: Final = f"{FAILED}expected no value that the state marks as Secret"


def types_of(job: AnyDefinition) -> Mapping[str, AttributeType]:
    """Return the types of a job's attributes, by name."""
    return {one.name: one.type for one in job.plan.attributes}


def declared_by(job: AnyDefinition) -> Mapping[str, str]:
    """Return the fingerprints of a job's attributes, by name.

    A fingerprint changes with all that decides a value: the function with those that it calls in the same package, its
    version and type, and the types and functions that read a stored state.
    """
    return {one.name: _fingerprint(job, one) for one in job.plan.attributes}


def _fingerprint(job: AnyDefinition, one: Attribute[Any, Any]) -> str:
    # All that decides a value: a store that was filled by another function must be filled again.
    parts = (one.version, one.type.word, read_by(job), list(function_texts((one.function,))))
    return fingerprint(orjson.dumps(parts))[:_DIGITS]


def generations_of(
    job: AnyDefinition, where: Sequence[KeyRange], known: Sequence[StoredAttribute]
) -> tuple[int, ...] | None:
    """Return the generations of the attributes that a filter names. None if an instance may lack one, or have another.

    Args:
        job: the definition.
        where: the filter.
        known: the attributes that the store knows.
    """
    found = {one.attribute: one for one in known if (one.kind, one.name) == (job.kind, job.name)}
    declared, generations = declared_by(job), list[int]()
    for wanted in where:
        one = found.get(wanted.attribute)
        if one is None or one.fingerprint != declared[wanted.attribute]:
            return None
        if one.state != "whole" or one.doubt == "some" or one.failures:
            return None
        generations.append(one.generation)
    return tuple(generations)


def keys_of(job: AnyDefinition, instance: Instance) -> AttributeKeys:
    """Return the keys of an instance's attributes. Never fail: a key may say why there is no value."""
    declared = job.plan.attributes
    try:
        text = visible_text(job, instance)
        # A row without a visible state has no keys: those of an earlier one are removed.
        if text is None:
            return tuple((one.name, None) for one in declared)
        state: object = job.plan.state.open(text.encode()).value
        secrets = _secrets(job, text)
    except Exception as error:  # noqa: BLE001 - code of the user may raise anything, and the instance is stored
        return tuple((one.name, _failure(error)) for one in declared)
    return tuple((one.name, _key(one, state, secrets)) for one in declared)


def _key(one: Attribute[Any, Any], state: object, secrets: frozenset[str]) -> str | None:
    try:
        value = one.function(state)
    except Exception as error:  # noqa: BLE001 - as above
        return _failure(error)
    if value is None:
        return None
    # The store and every list show it, whatever the function took it from.
    if secrets and str(value) in secrets:
        return _SECRET
    try:
        return one.type.key(value)
    except ValueError:
        return f"{FAILED}expected {one.type.expected}"


def _failure(error: Exception) -> str:
    return FAILED + type(error).__name__  # its message may hold a part of the state


def _secrets(job: AnyDefinition, text: str) -> frozenset[str]:
    if not job.plan.state.secret:
        return frozenset()
    found: list[object] = []

    def note(value: object) -> str:
        found.append(value)
        return HIDDEN

    job.plan.state.redact(text.encode(), hide=note)
    # An empty secret would hide every value.
    return frozenset(each for value in found for each in texts_of(value) if each)
