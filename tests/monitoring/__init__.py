"""Rules and dashboard, held against the real tools."""
