from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from pman.errors import CrossSite
from pman.web.api.guard import same_origin


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://pman:5010", "Host": "pman:5010"},
        {"Origin": "https://pman.example.org", "Host": "pman.example.org"},
        {"Origin": "https://pman.example.org", "Host": "pman.example.org:443"},
        {"Origin": "http://[::1]:5010", "Host": "[::1]:5010"},
        {"Origin": "http://PMAN:5010", "Host": "pman:5010"},
    ],
)
def test_a_tool_and_pmans_own_page_may_change_something(headers: dict[str, str]) -> None:
    same_origin(Headers(headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "HX-Request": "true"},
        {"Origin": "http://evil.example", "Host": "pman:5010"},
        {"Origin": "http://pman:5011", "Host": "pman:5010"},
        {"Origin": "http://pman:99999", "Host": "pman:99999"},
        {"Origin": "null", "Host": "pman:5010"},
        {"Origin": "null", "Host": ""},
        {"Origin": "file://pman", "Host": "pman"},
        {"Origin": "http://pman:5010"},
    ],
)
def test_what_a_page_of_another_site_has_sent_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSite):
        same_origin(Headers(headers))
