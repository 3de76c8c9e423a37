"""What the dashboards are made of: frame, variables, kinds of panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.addresses import runbook
from monitoring.dashboards.queries import TENANT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Panel = stat.Panel | table.Panel | timeseries.Panel

SOURCE = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "office365-activations"
GREEN, YELLOW, ORANGE, RED, TEXT = "green", "yellow", "orange", "red", "text"
DAY = 86400
TENANT_LINK = (
    "/d/office365-tenant?${__url_time_range}&${datasource:queryparam}&${job:queryparam}"
    "&var-tenant=${__data.fields.Tenant:percentencode}"
)
_WIDE = {"Product type": 330, "Report": 220, "Client ID": 330, "Alert": 240, "Instance": 150}
Rows = dict[str, list[Panel]]


def frame(
    uid: str, title: str, description: str, *, days: int, variables: Iterable[dashboard.QueryVariable], rows: Rows
) -> dashboard.Dashboard:
    """Return a dashboard with links to the others and to the runbook."""
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG, "microsoft365", "licences"])
        .time(f"now-{days}d", "now")
        .timezone("browser")
        .refresh("5m")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .link(_Link("Microsoft 365 activations", model.DashboardLinkType.DASHBOARDS, tags=[TAG], keep_time=True))
        .link(_Link("Runbook", model.DashboardLinkType.LINK, url=runbook(), icon="doc", target_blank=True))
    )
    for variable in variables:
        board.with_variable(variable)
    for name, panels in rows.items():
        board.with_row(dashboard.Row(name))
        for panel in panels:
            board.with_panel(panel)
    return board


class _Link(Builder[model.DashboardLink]):
    """A link above the panels."""

    def __init__(self, title: str, type_val: model.DashboardLinkType, **options: Any) -> None:
        self._link = _LinkModel(title, type_val, **options)
        self._link.include_vars = type_val is model.DashboardLinkType.DASHBOARDS

    def build(self) -> model.DashboardLink:
        """Return the link."""
        return self._link


class _LinkModel(model.DashboardLink):
    def to_json(self) -> dict[str, object]:
        """Return the link without its placement, which would move it into a menu."""
        return {key: value for key, value in super().to_json().items() if key != "placement"}


def choice(name: str, label: str, series: str, *, several: bool = True) -> dashboard.QueryVariable:
    """Return a variable that offers a label's values: one of them, or several or all."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": f"label_values({series}, {name})", "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )
    if not several:
        return variable
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return variable.multi(multi=True).include_all(include_all=True).all_value(".+").current(everything)


JOB = choice("job", "Job", "office365_activations_exporter_build_info")
INSTANCE = choice("instance", "Instance", 'office365_activations_exporter_build_info{job=~"$job"}')
PRODUCT = choice("product_type", "Product type", f"office365_activations_assigned_users{{{TENANT}}}")


def tenant(*, several: bool) -> dashboard.QueryVariable:
    """Return the variable that chooses tenants."""
    return choice("tenant", "Tenant", 'office365_activations_tenant_info{job=~"$job"}', several=several)


def query(expression: str, name: str = "", legend: str = "") -> prometheus.Dataquery:
    """Return one query; with a `name` as a table of the present moment, else over time."""
    built = prometheus.Dataquery().datasource(SOURCE).expr(expression)
    if name:
        return built.ref_id(name).instant().format(PromQueryFormat.TABLE)
    return built.range().legend_format(legend)


def thresholds(steps: Mapping[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return colours from a value on."""
    found = [model.Threshold(value, colour) for value, colour in steps.items()]
    return dashboard.ThresholdsConfig().steps(found).mode(model.ThresholdsMode.ABSOLUTE)


def figure(
    title: str,
    expression: str,
    description: str,
    *,
    unit: str = "short",
    steps: Mapping[float | None, str] | None = None,
    missing: str = "not known",
    legend: str = "",
    width: int = 3,
) -> stat.Panel:
    """Return one figure of the present moment.

    Args:
        title: the panel's title.
        expression: what is shown.
        description: the panel's help.
        unit: of the value.
        steps: colours from a value on; none if left out.
        missing: what is shown where nothing is known.
        legend: what names the value, where it needs a name.
        width: of the dashboard's 24.
    """
    mode = common_model.BigValueTextMode.VALUE_AND_NAME if legend else common_model.BigValueTextMode.VALUE
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(4)
        .unit(unit)
        .no_value(missing)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE if steps else common_model.BigValueColorMode.NONE)
        .text_mode(mode)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(
            prometheus.Dataquery().datasource(SOURCE).expr(expression).ref_id("A").instant().legend_format(legend)
        )
        .thresholds(thresholds(steps or {None: TEXT}))
    )


def graph(
    title: str,
    queries: Mapping[str, str],
    description: str,
    *,
    unit: str = "short",
    width: int = 12,
    dashed: str = "",
    missing: str = "nothing is known",
) -> timeseries.Panel:
    """Return a graph over time.

    Args:
        title: the panel's title.
        queries: each legend, and its expression.
        description: the panel's help.
        unit: of the values.
        width: of the dashboard's 24.
        dashed: a regular expression of the lines that are dashed.
        missing: what is shown in the place of an empty graph.
    """
    built = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(9)
        .unit(unit)
        .no_value(missing)
        .min(0)
        .line_width(2)
        .show_points(common_model.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
    )
    for number, (legend, expression) in enumerate(queries.items()):
        built.with_target(query(expression, legend=legend).ref_id(chr(ord("A") + number)))
    if dashed:
        line = model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})
        built.override_by_regexp(dashed, [line, model.DynamicConfigValue("custom.lineWidth", 1)])
    return built


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a query's value.

    Attributes:
        expression: the query; all queries of a table have the labels that it shows.
        unit: of the value.
        steps: colours of the text from a value on.
        hidden: whether the query only brings its labels.
    """

    expression: str
    unit: str = "locale"
    steps: Mapping[float | None, str] | None = None
    hidden: bool = False


def listing(
    title: str,
    columns: Mapping[str, Column],
    description: str,
    *,
    labels: Mapping[str, str],
    links: Mapping[str, str] | None = None,
    sort: str = "",
    descending: bool = False,
    width: int = 12,
    height: int = 9,
    missing: str = "nothing is known",
) -> table.Panel:
    """Return a table: a row for each set of `labels`, a column for each query that is not hidden.

    Args:
        title: the panel's title.
        columns: by their titles.
        description: the panel's help.
        labels: the labels shown, and the title of each one's column.
        links: where a column's cells lead.
        sort: the column to sort by.
        descending: whether the largest value comes first.
        width: of the dashboard's 24.
        height: in the dashboard's lines.
        missing: what is shown in the place of an empty table.
    """
    several = len(columns) > 1  # Grafana names the value by its query only then
    fields = {f"Value #{name}" if several else "Value": name for name in columns}
    shown = [*labels, *(field for field, name in fields.items() if not columns[name].hidden)]
    built = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .unit("string")
        .no_value(missing)
        .min_width(80)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": shown}})
        )
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "renameByName": {**labels, **fields},
                    "indexByName": {name: position for position, name in enumerate(shown)},
                },
            )
        )
    )
    for name, column in columns.items():
        built.with_target(query(column.expression, name=name))
        # A missing number is an empty cell; the panel's own text is for an empty table.
        looks = [model.DynamicConfigValue("unit", column.unit), model.DynamicConfigValue("noValue", " ")]
        if column.steps:
            looks.append(model.DynamicConfigValue("thresholds", thresholds(column.steps).build()))
            looks.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        if not column.hidden:
            built.override_by_name(name, looks)
    for name in labels.values():
        if name in _WIDE:
            built.override_by_name(name, [model.DynamicConfigValue("custom.width", _WIDE[name])])
    for name, url in (links or {}).items():
        link = {"title": "Open", "url": url, "targetBlank": url.startswith("https:")}
        built.override_by_name(name, [model.DynamicConfigValue("links", [link])])
    if sort:
        built.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=descending)])
    return built
