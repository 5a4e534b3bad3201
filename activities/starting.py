"""Starting workflows from activities: by name, so that the two sides never meet."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from fulgurite.attributes import REGISTRY


def searchable(values: Mapping[str, str | int]) -> TypedSearchAttributes:
    """The attributes of `fulgurite.attributes`, by name, in Temporal's types."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(SearchAttributeKey.for_int(name), value)
            if isinstance(value, int)
            else SearchAttributePair(SearchAttributeKey.for_keyword(name), value)
            for name, value in values.items()
            if REGISTRY[name] == ("Int" if isinstance(value, int) else "Keyword")
        ]
    )
