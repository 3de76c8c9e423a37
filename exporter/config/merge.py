"""Merges layers of settings: maps by key, everything else is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exporter.config.credential import AUTH_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

# Two ways to say one thing: the layer on top says it, and silences the other below.
_RIVALS: Final[Mapping[tuple[str, ...], str]] = {
    ("poll", "interval"): "schedule",
    ("poll", "schedule"): "interval",
    ("http", "proxy"): "proxy_file",
    ("http", "proxy_file"): "proxy",
    ("auth", "certificate_password"): "certificate_password_file",
    ("auth", "certificate_password_file"): "certificate_password",
}
# Their keys are names of products, whose case does not matter.
_ANY_CASE: Final = frozenset({"product_names", "product_types"})


def overlay(low: Mapping[str, Any], high: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return `low` with `high` on top; neither is changed.

    A credential on top replaces all of `auth` below, and what has a rival (`interval` and `schedule`) silences it.

    Args:
        low: the settings below.
        high: the settings on top.
        path: where both stand.
    """
    result = _kept(low, high, path)
    for key, value in high.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = overlay(below, value, (*path, key))
        else:
            result[key] = value
    return result


def _kept(low: Mapping[str, Any], high: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return what of `low` is not silenced as a whole by `high`."""
    if path == ("auth",) and not AUTH_KINDS.keys().isdisjoint(high):
        return {}
    silenced = {_RIVALS[*path, key] for key in high if (*path, key) in _RIVALS}
    if path and path[-1] in _ANY_CASE:
        folded = {key.casefold() for key in high}
        silenced |= {key for key in low if key.casefold() in folded and key not in high}
    return {key: value for key, value in low.items() if key not in silenced}
