"""The whole exporter, as a process of its own, with the real programs around it."""
