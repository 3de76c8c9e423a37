"""Tests of credentials, tokens and clouds."""
