"""Simulated days with faults of every kind, and the invariants that hold through all of them."""
