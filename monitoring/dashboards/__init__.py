"""Grafana dashboards as code: `make dashboards` writes the JSON files next to it."""
