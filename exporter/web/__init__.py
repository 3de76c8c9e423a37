"""The web endpoints: metrics, status page, API, probes."""
