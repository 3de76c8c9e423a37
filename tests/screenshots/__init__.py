"""Pictures of the dashboards and of the status page, drawn in Chromium over real data."""
