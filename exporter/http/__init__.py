"""Requests to Microsoft: one at a time, under a deadline, limited in size."""

from exporter.http.clients import MAX_BODY, Answer, Clients, Proxy, raise_passing, retry_after
from exporter.http.deadline import Deadline, tls_context

__all__ = ["MAX_BODY", "Answer", "Clients", "Deadline", "Proxy", "raise_passing", "retry_after", "tls_context"]
