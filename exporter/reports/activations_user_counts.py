"""The report of users by product type: assigned, activated, on shared computers.

Source: https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
"""

from exporter.reports.table import Column, Report

REPORT = Report(
    name="activations_user_counts",
    function="getOffice365ActivationsUserCounts",
    columns=(
        Column("Assigned", "assigned", "assigned_users", "Users who were assigned a licence"),
        Column("Activated", "activated", "activated_users", "Users who activated their licence on a device"),
        Column(
            "Shared Computer Activation",
            "sharedComputerActivation",
            "shared_computer_users",
            "Users who used their licence on a shared computer",
        ),
    ),
)
