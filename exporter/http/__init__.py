"""Requests to Microsoft: one at a time, under a deadline, limited in size."""

from exporter.http.clients import MAX_BODY, Answer, Clients, raise_passing, retry_after
from exporter.http.deadline import Deadline, tls_context
from exporter.http.proxy import Proxy, proxy_from

__all__ = [
    "MAX_BODY",
    "Answer",
    "Clients",
    "Deadline",
    "Proxy",
    "proxy_from",
    "raise_passing",
    "retry_after",
    "tls_context",
]
