"""Graph and the download host, as the simulation plays them."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.full_simulator import CLOUDS, Simulator, Stage
from tests.simulator.plain import USER_COUNTS, Clock, Plain, error, in_process

if TYPE_CHECKING:
    from collections.abc import Mapping

REPORT = "activations_user_counts"


def test_csv_comes_by_a_redirect_to_a_second_origin(plain: Plain) -> None:
    """Graph answers 302 with text/plain and a preauthenticated address; the file is an octet-stream."""
    answer = plain.graph()
    assert answer.status_code == 302
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Location"].startswith("https://reportsweu.office.com/data/download/")
    file = plain.client.get(answer.headers["Location"])
    assert file.status_code == 200
    assert file.headers["Content-Type"] == "application/octet-stream"


def test_the_csv_has_a_mark_a_header_and_upper_case_names(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """The file says what `rows()` says, in Microsoft's columns, with names in upper case."""
    body = plain.csv().content
    assert body.startswith(
        b"\xef\xbb\xbfReport Refresh Date,Product Type,Assigned,Activated,Shared Computer Activation\r\n"
    )
    day = simulator.refresh_date(clock())
    rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))[1:]
    assert rows == [
        [day.isoformat(), row.product_type.upper(), *map(str, row.counts)]
        for row in simulator.rows("contoso", REPORT, day)
    ]


def test_json_comes_at_once_in_title_case(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """Beta answers 200 with an object whose `value` says what `rows()` says."""
    answer = plain.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    day = simulator.refresh_date(clock())
    keys = ("assigned", "activated", "sharedComputerActivation")
    assert answer.json()["value"] == [
        {
            "reportRefreshDate": day.isoformat(),
            "productType": row.product_type,
            **dict(zip(keys, row.counts, strict=True)),
        }
        for row in simulator.rows("contoso", REPORT, day)
    ]


@pytest.mark.parametrize("json", [False, True])
def test_the_second_report_is_there_too(plain: Plain, *, json: bool) -> None:
    """Activations by platform come as CSV and as JSON."""
    answer = plain.graph(version="beta", function="getOffice365ActivationCounts", json=json)
    if json:
        assert {"windows", "mac", "android", "ios", "windows10Mobile"} <= set(answer.json()["value"][0])
    else:
        header = plain.client.get(answer.headers["Location"]).text.splitlines()[0]
        assert header == "\ufeffReport Refresh Date,Product Type,Windows,Mac,Android,iOS,Windows 10 Mobile"


def test_json_is_not_for_v1(plain: Plain) -> None:
    """v1.0 refuses `$format=application/json` as sibling reports have been seen to do."""
    answer = plain.graph(json=True)
    assert answer.status_code == 400
    assert error(answer)["message"] == "JSON format is not supported."


def test_a_report_that_is_not_simulated_is_an_unknown_segment(plain: Plain) -> None:
    """The report on persons, above all, is not there."""
    answer = plain.graph(function="getOffice365ActivationsUserDetail")
    assert answer.status_code == 400
    assert error(answer)["message"] == "Resource not found for the segment 'getOffice365ActivationsUserDetail'."


def test_only_get_is_allowed(plain: Plain) -> None:
    """Another method is 405."""
    headers = {"Authorization": f"Bearer {plain.token()}"}
    assert plain.client.post(f"{plain.cloud.graph}/v1.0/reports/{USER_COUNTS}", headers=headers).status_code == 405


def test_every_answer_of_graph_carries_both_ids(plain: Plain) -> None:
    """request-id and client-request-id are on good and bad answers; the client's own id is given back."""
    mine = {"client-request-id": "11111111-2222-3333-4444-555555555555"}
    for answer in (plain.graph(headers=mine), plain.graph("nonsense", headers=mine)):
        assert answer.headers["request-id"]
        assert answer.headers["client-request-id"] == mine["client-request-id"]


def test_the_address_expires_after_five_minutes(plain: Plain, clock: Clock) -> None:
    """A preauthenticated address is good for 299 seconds and refused after 300, in XML."""
    address = plain.graph().headers["Location"]
    clock.sleep(299)
    assert plain.client.get(address).status_code == 200
    clock.sleep(1)
    refused = plain.client.get(address)
    assert (refused.status_code, refused.headers["Content-Type"]) == (403, "application/xml")


def test_a_forged_address_is_refused(plain: Plain) -> None:
    """An address with another signature opens nothing, nor does an access token in its place."""
    address = plain.graph().headers["Location"]
    assert plain.client.get(address[:-4] + "AAAA").status_code == 403
    assert plain.client.get(address.partition("?")[0], params={"token": plain.token()}).status_code == 403


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Proxy-Authorization"])
def test_a_secret_sent_to_the_download_host_is_a_leak(plain: Plain, simulator: Simulator, name: str) -> None:
    """The download host answers 400 to a client that sends more than the address, and the state remembers."""
    address = plain.graph().headers["Location"]
    assert plain.client.get(address, headers={name: "Bearer secret"}).status_code == 400
    (leak,) = simulator.leaks
    assert name.lower() in leak
    assert "secret" not in leak


def test_a_call_to_any_other_host_is_a_leak(plain: Plain, simulator: Simulator) -> None:
    """In process, a host that is not Microsoft's cannot be reached, and the attempt is remembered."""
    for address in ("https://example.net/", "http://graph.microsoft.com/v1.0", "https://10.0.0.1/"):
        with pytest.raises(httpx.ConnectError):
            plain.client.get(address)
    assert len(simulator.leaks) == 3


def test_fourteen_csv_calls_in_ten_minutes(plain: Plain, clock: Clock) -> None:
    """The fifteenth call is 429 with the seconds until the first leaves the window; it counts, too."""
    token = plain.token()
    for _ in range(14):
        assert plain.graph(token).status_code == 302
        clock.sleep(10)
    refused = plain.graph(token)
    # It was counted: now the second call is the oldest of fourteen.
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "470")
    clock.sleep(469)
    assert plain.graph(token).status_code == 429
    clock.sleep(int(plain.graph(token).headers["Retry-After"]))
    assert plain.graph(token).status_code == 302


def test_a_hundred_json_calls_in_ten_minutes(plain: Plain) -> None:
    """JSON has a window of its own: a hundred calls, untouched by those of CSV."""
    token = plain.token()
    for _ in range(14):
        plain.graph(token)
    assert [plain.json(token).status_code for _ in range(101)] == [200] * 100 + [429]


def test_windows_are_counted_per_report(plain: Plain) -> None:
    """One report's window does not close the other's."""
    token = plain.token()
    assert [plain.graph(token).status_code for _ in range(15)][-1] == 429
    assert plain.graph(token, function="getOffice365ActivationCounts").status_code == 302


def test_forty_csv_calls_over_all_apps(plain: Plain, simulator: Simulator) -> None:
    """Other apps of the same tenant use up the tenant's own window."""
    codes = []
    for number in range(3):
        app = f"00000000-0000-0000-0000-00000000000{number}"
        simulator.register_app(plain.tenant, app, "secret")
        token = plain.token(client_id=app, client_secret="secret")
        codes += [plain.graph(token).status_code for _ in range(13)]
    assert codes == [302] * 39
    token = plain.token()
    assert [plain.graph(token).status_code for _ in range(2)] == [302, 429]
    simulator.open_windows()
    assert plain.graph(token).status_code == 302


def test_tenants_do_not_share_windows(simulator: Simulator, plain: Plain, clock: Clock) -> None:
    """A throttled tenant throttles no other."""
    for _ in range(15):
        plain.graph()
    other = in_process(simulator, clock, tenant=simulator.tenants[1])
    assert plain.graph().status_code == 429
    assert other.graph().status_code == 302


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (" ", "Access token is empty."),
        ("a.b.c", "CompactToken parsing failed with error code: 80049217"),
        ("ü", "CompactToken parsing failed with error code: 80049217"),
    ],
)
def test_a_token_that_is_none_is_refused(plain: Plain, token: str, message: str) -> None:
    """Graph answers 401 with InvalidAuthenticationToken and WWW-Authenticate."""
    url = f"{plain.cloud.graph}/v1.0/reports/{USER_COUNTS}"
    answer = plain.client.get(url, headers={b"Authorization": f"Bearer {token}".encode()})
    assert answer.status_code == 401
    assert error(answer)["code"] == "InvalidAuthenticationToken"
    assert error(answer)["message"] == message
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm=""')


def test_a_token_lives_for_an_hour(plain: Plain, clock: Clock) -> None:
    """After an hour the same token is 401."""
    token = plain.token()
    clock.sleep(3598)
    assert plain.graph(token).status_code == 302
    clock.sleep(2)
    assert plain.graph(token).status_code == 401


def test_a_revoked_token_is_refused_and_a_new_one_taken(plain: Plain, simulator: Simulator) -> None:
    """Revocation ends the tokens issued so far, in that tenant."""
    token = plain.token()
    simulator.revoke_tokens("contoso.onmicrosoft.com")
    assert plain.graph(token).status_code == 401
    assert plain.graph().status_code == 302


def test_consent_stands_in_the_token(plain: Plain, simulator: Simulator) -> None:
    """Without consent a token has no roles and Graph answers 403; a token issued before or after carries on."""
    before = plain.token()
    simulator.revoke_consent("contoso")
    without = plain.token()
    refused = plain.graph(without)
    assert refused.status_code == 403
    assert error(refused)["code"] == "S2SUnauthorized"
    assert plain.graph(before).status_code == 302
    simulator.grant_consent("contoso")
    assert plain.graph(without).status_code == 403
    assert plain.graph().status_code == 302


@pytest.mark.parametrize("cloud", sorted(CLOUDS))
def test_each_cloud_has_its_hosts_and_versions(simulator: Simulator, clock: Clock, cloud: str) -> None:
    """All four clouds have the report in beta, only the global one has it in v1.0."""
    plain = in_process(simulator, clock, cloud)
    token = plain.token()
    beta = plain.graph(token, version="beta")
    assert beta.status_code == 302
    assert plain.client.get(beta.headers["Location"]).status_code == 200
    first = plain.graph(token)
    assert first.status_code == (302 if cloud == "global" else 400)
    if cloud != "global":
        assert error(first)["code"] == "BadRequest"
        assert error(first)["message"] == f"Resource not found for the segment '{USER_COUNTS}'."
    assert plain.json(token).status_code == 200


def test_a_token_of_one_cloud_is_worth_nothing_in_another(simulator: Simulator, clock: Clock) -> None:
    """Each Graph takes only tokens that were issued for it."""
    clients: Mapping[str, Plain] = {name: in_process(simulator, clock, name) for name in CLOUDS}
    tokens = {name: plain.token() for name, plain in clients.items()}
    for name, plain in clients.items():
        for issued, token in tokens.items():
            assert plain.graph(token, version="beta").status_code == (302 if issued == name else 401)


def test_what_was_served_is_known(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """The state says which numbers left it for which day, as they were written."""
    day = simulator.refresh_date(clock())
    assert simulator.served("contoso", REPORT, day) == frozenset()
    plain.csv()
    rows = simulator.rows("contoso", REPORT, day)
    assert simulator.served("contoso", REPORT, day) == {(row.product_type.upper(), row.counts) for row in rows}


def test_a_correction_changes_a_day_that_has_been_served(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """After `revise()` the same date has other numbers, and both were served."""
    day = simulator.refresh_date(clock())
    before = plain.csv().content
    simulator.revise("contoso")
    after = plain.csv().content
    assert before != after
    rows = simulator.rows("contoso", REPORT, day)
    assert len(simulator.served("contoso", REPORT, day)) == 2 * len(rows)


def test_calls_are_counted_and_logged(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """Every answered call is counted by tenant, report and step, and the log says what came of it."""
    plain.csv()
    clock.sleep(timedelta(days=1).total_seconds())
    plain.csv()
    assert [simulator.count("contoso", stage) for stage in (Stage.TOKEN, Stage.GRAPH, Stage.DOWNLOAD)] == [2, 2, 2]
    assert simulator.count("contoso", Stage.GRAPH, "activations_platform_counts") == 0
    assert simulator.count("fabrikam", Stage.GRAPH) == 0
    assert [record.status for record in simulator.log] == [200, 302, 200] * 2
    assert simulator.log[-1].at == clock()
