"""Tests of storage and history."""
