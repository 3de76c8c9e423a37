"""Tests of the web endpoints."""
