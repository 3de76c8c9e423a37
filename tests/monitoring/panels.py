"""The kinds of panel that the dashboard is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

Panel = stat.Panel | table.Panel | timeseries.Panel

SOURCE = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")


def query(expression: str, name: str = "", legend: str = "") -> prometheus.Dataquery:
    """Return one query; with a `name` as a table of the present moment, else over time."""
    built = prometheus.Dataquery().datasource(SOURCE).expr(expression)
    if name:
        return built.ref_id(name).instant().format(PromQueryFormat.TABLE)
    return built.range().legend_format(legend)


def figure(
    title: str,
    expression: str,
    description: str,
    *,
    unit: str = "short",
    steps: Mapping[int | None, str] | None = None,
) -> stat.Panel:
    """Return one figure, an eighth of the width; `steps` colours it from a value on."""
    built = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(3)
        .height(4)
        .unit(unit)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query(expression, name="A"))
    )
    thresholds = [model.Threshold(value, colour) for value, colour in (steps or {None: "text"}).items()]
    return built.thresholds(dashboard.ThresholdsConfig().steps(thresholds).mode(model.ThresholdsMode.ABSOLUTE))


def graph(title: str, queries: Mapping[str, str], description: str, *, unit: str = "short") -> timeseries.Panel:
    """Return a graph over time, half the width; `queries` maps each expression to its legend."""
    built = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(12)
        .height(8)
        .unit(unit)
        .min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.RIGHT)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
    )
    for number, (expression, legend) in enumerate(queries.items()):
        built.with_target(query(expression, legend=legend).ref_id(chr(ord("A") + number)))
    return built


def listing(
    title: str,
    queries: Mapping[str, str],
    description: str,
    *,
    labels: Mapping[str, str],
    units: Mapping[str, str] | None = None,
    hidden: tuple[str, ...] = (),
) -> table.Panel:
    """Return a table, half the width: a row for each set of `labels`, a column for each query not hidden.

    Args:
        title: the panel's title.
        queries: each column's name and its expression.
        description: the panel's help.
        labels: the labels shown, and the title of each one's column.
        units: a query's unit, where it has one.
        hidden: queries that only bring their labels.
    """
    several = len(queries) > 1  # Grafana names the value by its query only then
    fields = {f"Value #{name}" if several else "Value": name for name in queries}
    shown = [*labels, *(field for field, name in fields.items() if name not in hidden)]
    order = {name: position for position, name in enumerate(shown)}
    built = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(12)
        .height(8)
        .with_transformation(transformation("merge"))
        .with_transformation(transformation("filterFieldsByName", include={"names": shown}))
        .with_transformation(transformation("organize", renameByName={**labels, **fields}, indexByName=order))
    )
    for name, expression in queries.items():
        built.with_target(query(expression, name=name))
    for name, unit in (units or {}).items():
        built.override_by_name(name, [model.DynamicConfigValue("unit", unit)])
    return built


def transformation(name: str, **options: object) -> model.DataTransformerConfig:
    """Return a step that changes what a panel's queries brought."""
    return model.DataTransformerConfig(id_val=name, options=options)
