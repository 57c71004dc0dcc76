from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from pman.errors import CrossSite, Unauthorised
from pman.web.api.guard import authorised, same_origin

TOKEN = "a-token-of-the-site"  # noqa: S105  (of no site)


@pytest.mark.parametrize(
    ("method", "headers", "json"),
    [
        ("DELETE", {}, False),  # curl
        ("POST", {}, True),
        ("POST", {"HX-Request": "true"}, False),
        ("POST", {"X-Requested-With": "pman"}, False),
        (
            "DELETE",
            {"Sec-Fetch-Site": "same-origin", "Origin": "http://pman:5010", "Host": "pman:5010"},
            False,
        ),
        ("DELETE", {"Origin": "https://pman.example.org", "Host": "pman.example.org"}, False),
        ("DELETE", {"Origin": "https://pman.example.org", "Host": "pman.example.org:443"}, False),
        ("DELETE", {"Origin": "http://[::1]:5010", "Host": "[::1]:5010"}, False),
        ("DELETE", {"Origin": "http://PMAN:5010", "Host": "pman:5010"}, False),
    ],
)
def test_a_tool_and_pmans_own_page_may_change_something(
    method: str, headers: dict[str, str], json: bool
) -> None:
    same_origin(method, Headers(headers), json=json)


@pytest.mark.parametrize(
    ("method", "headers", "json"),
    [
        ("POST", {}, False),  # a form
        ("POST", {"Content-Type": "text/plain"}, False),
        ("DELETE", {"Sec-Fetch-Site": "cross-site"}, False),
        ("DELETE", {"Sec-Fetch-Site": "same-site"}, True),
        ("POST", {"Sec-Fetch-Site": "cross-site", "HX-Request": "true"}, True),
        ("DELETE", {"Origin": "http://evil.example", "Host": "pman:5010"}, False),
        ("DELETE", {"Origin": "http://pman:5011", "Host": "pman:5010"}, False),
        ("DELETE", {"Origin": "http://pman:99999", "Host": "pman:99999"}, False),
        ("DELETE", {"Origin": "null", "Host": "pman:5010"}, False),
        ("DELETE", {"Origin": "null", "Host": ""}, False),
        ("DELETE", {"Origin": "file://pman", "Host": "pman"}, False),
        ("DELETE", {"Origin": "http://pman:5010"}, False),
    ],
)
def test_what_a_page_of_another_site_may_have_sent_is_refused(
    method: str, headers: dict[str, str], json: bool
) -> None:
    with pytest.raises(CrossSite):
        same_origin(method, Headers(headers), json=json)


def test_without_a_token_of_the_site_nobody_needs_one() -> None:
    authorised(Headers(), None)


def test_the_sites_token_is_taken_in_any_case_of_the_scheme() -> None:
    authorised(Headers({"Authorization": f"Bearer {TOKEN}"}), TOKEN)
    authorised(Headers({"Authorization": f"bearer {TOKEN}"}), TOKEN)


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", "Bearer ümläut"],
)
def test_any_other_is_refused(given: str) -> None:
    with pytest.raises(Unauthorised):
        authorised(Headers({"Authorization": given} if given else {}), TOKEN)
