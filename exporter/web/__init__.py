"""The web endpoints: how the exporter is scraped, probed and looked at."""
