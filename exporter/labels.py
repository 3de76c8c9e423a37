"""Microsoft's product type → the label `product_type`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def product_labels(product_types: Iterable[str], product_names: Mapping[str, str]) -> dict[str, str]:
    """Return the label of each product type of one report.

    A rename whose label another product type of the same report would bear too is left out: nothing is summed, since a
    person may hold both licences, and the name is kept as Microsoft gave it.

    Args:
        product_types: the names of one report.
        product_names: name (any case) to label, as configured.
    """
    names = tuple(product_types)
    if not product_names:
        return {name: name for name in names}
    renames = {name.casefold(): label for name, label in product_names.items()}
    wanted = {name: renames.get(name.casefold(), name) for name in names}
    borne = Counter(label.casefold() for label in wanted.values())
    borne.update(name.casefold() for name, label in wanted.items() if name.casefold() != label.casefold())
    return {name: label if borne[label.casefold()] == 1 else name for name, label in wanted.items()}


def kept_names(product_types: Iterable[str], product_names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the product types whose rename was left out by `product_labels`."""
    renames = {name.casefold() for name, label in product_names.items() if name.casefold() != label.casefold()}
    labels = product_labels(product_types, product_names)
    return tuple(name for name, label in labels.items() if name == label and name.casefold() in renames)
