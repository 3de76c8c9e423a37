"""Tests of the simulation of Microsoft's hosts."""
