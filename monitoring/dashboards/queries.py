"""The PromQL of the dashboards.

Every expression aggregates to the labels that it is about, so that several replicas, jobs and replaced pods are one:
of two samples the larger counts. Nothing here needs the recording rules. A number that is not known is absent, never 0.
"""

from __future__ import annotations

PREFIX = "office365_activations_"
JOB = 'job=~"$job"'
INSTANCE = f'{JOB}, instance=~"$instance"'
TENANT = f"{JOB}, tenant=~`${{tenant:regex}}`"
"""Grafana alone does not escape the value of a variable that has one; a string in backticks keeps every backslash."""
PRODUCT = f'{TENANT}, product_type=~"$product_type"'
PER_PRODUCT = "tenant, product_type"
PER_REPORT = "tenant, report"


def largest(metric: str, labels: str, selector: str, at: str = "") -> str:
    """Return a gauge by its labels; `at` is PromQL's modifier of the time."""
    return f"max by ({labels}) ({PREFIX}{metric}{{{selector}}}{at})"


class Products:
    """The numbers of the chosen products.

    Args:
        at: PromQL's modifier of the time: `@ …` or `offset …`.
    """

    def __init__(self, at: str = "") -> None:
        self.assigned = largest("assigned_users", PER_PRODUCT, PRODUCT, at)
        self.activated = largest("activated_users", PER_PRODUCT, PRODUCT, at)
        self.shared = largest("shared_computer_users", PER_PRODUCT, PRODUCT, at)
        # The target as it is at the end of the range: the same products over all of it, also where the past has none.
        self.target = largest("target_ratio", PER_PRODUCT, PRODUCT, " @ end()")
        self.price = largest("license_price", f"{PER_PRODUCT}, currency", PRODUCT, at)
        self.ratio = f"{self.activated} / ({self.assigned} > 0)"
        self.idle = f"clamp_min({self.assigned} - {self.activated}, 0)"
        self.idle_targeted = f"({self.idle} and {self.target})"
        self.cost = f"{self.price} * ignoring (currency) group_left () {self.idle}"

    def headline(self, by: str = "") -> str:
        """Return activated / assigned over the products that have a target, by labels or over all."""
        total = f"sum by ({by})" if by else "sum"
        return f"{total} ({self.activated} and {self.target}) / ({total} ({self.assigned} and {self.target}) > 0)"


NOW = Products()
AT_END = Products(" @ end()")
"""At the end of the range: what ranks the lines of a graph, so that they do not change from point to point."""
BEFORE = Products(" offset 30d")

REPORT_AGE = f"time() - {largest('report_refresh_timestamp_seconds', PER_REPORT, TENANT)}"
UP = largest("up", PER_REPORT, TENANT)
FAILING = f"{largest('failing', f'{PER_REPORT}, reason', TENANT)} unless on ({PER_REPORT}) ({UP} == 1)"
"""Of reports that no replica reads."""


def of_ranked(expression: str, rank: str, on: str = PER_PRODUCT) -> str:
    """Return an expression for those label values alone that a ranking chose."""
    return f"({expression}) and on ({on}) {rank}"


def per_hour(metric: str, selector: str, by: str) -> str:
    """Return how much a counter grows in an hour."""
    return f"sum by ({by}) (rate({PREFIX}{metric}{{{selector}}}[$__rate_interval])) * 3600"
