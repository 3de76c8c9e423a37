"""The report of activations by platform.

Source: https://learn.microsoft.com/graph/api/reportroot-getoffice365activationcounts
"""

from exporter.reports.table import Column, Report

_HELP = "Activations by platform"


def _platform(csv: str, json: str, platform: str) -> Column:
    return Column(csv, json, "platform_activations", _HELP, (("platform", platform),))


REPORT = Report(
    name="activations_platform_counts",
    function="getOffice365ActivationCounts",
    columns=(
        _platform("Windows", "windows", "windows"),
        _platform("Mac", "mac", "mac"),
        _platform("Android", "android", "android"),
        _platform("iOS", "ios", "ios"),
        _platform("Windows 10 Mobile", "windows10Mobile", "windows_10_mobile"),
    ),
)
