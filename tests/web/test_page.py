"""The page for people."""

from __future__ import annotations

from exporter.web.page import render


def test_the_page_names_what_is_wrong_and_its_mend() -> None:
    """A failing tenant stands there with reason, sentence, mend and request-id, every one of them escaped."""
    failure = {"reason": "permission", "message": "no <b>", "hint": "grant & wait", "request_id": "42"}
    report = {"refresh_date": "2026-11-21", "last_success": "2026-11-23T09:00:00+00:00", "failure": failure}
    tenants = [{"name": "<contoso>", "state": "failing", "reports": {"activations_user_counts": report}}]
    page = render({"tenants": tenants}, "/metrics").decode()
    for expected in ("&lt;contoso&gt;", "permission: no &lt;b&gt;", "mend: grant &amp; wait", "request-id: 42"):
        assert expected in page
    assert "of 2026-11-21, read 2026-11-23T09:00:00+00:00" in page


def test_a_tenant_that_was_never_polled_is_said_to_be_so() -> None:
    """Before the first poll the page claims nothing of a tenant's report."""
    report = {"refresh_date": None, "last_success": None, "failure": None}
    tenants = [{"name": "contoso", "state": "pending", "reports": {"activations_user_counts": report}}]
    assert "activations_user_counts: not read yet" in render({"tenants": tenants}, "/metrics").decode()
