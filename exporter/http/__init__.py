"""Requests to Microsoft: one at a time, under a deadline, limited in size."""

from exporter.http.clients import MAX_BODY, Answer, Clients, retry_after, tls_context
from exporter.http.deadline import Deadline
from exporter.http.proxy import Proxy, proxy_from

__all__ = ["MAX_BODY", "Answer", "Clients", "Deadline", "Proxy", "proxy_from", "retry_after", "tls_context"]
