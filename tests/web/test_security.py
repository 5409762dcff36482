import asyncio
import logging
import time

import httpx
import pytest

from mmocnet.errors import InputError
from mmocnet.web.app import create_app
from mmocnet.web.security import Access
from mmocnet.web.serving import hosts_of, listening


def test_without_the_token_nothing_is_answered(desk):
    client = desk.fresh_client()
    for path in ("/api/room", "/api/studies", "/static/main.js", "/static/nothing", "/nothing"):
        assert client.get(path).status_code == 401
    assert client.post("/api/readers", json={"name": "a"}).status_code == 401
    assert "mmocnet serve" in client.get("/").text


@pytest.mark.parametrize("given", ["", "x", "Bearer", "Bearer x", "Basic x", "\xe9"])
def test_a_wrong_token_is_no_token(desk, given):
    client = desk.fresh_client()
    headers = {"Authorization": given.encode("latin-1")}
    assert client.get("/api/room", headers=headers).status_code == 401


def test_the_address_gives_a_cookie_and_the_page(desk):
    client = desk.fresh_client()
    answer = client.get("/", params={"token": desk.access.token}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"mmocnet_session_{desk.access.port}=")
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    assert desk.access.token not in cookie
    assert client.get("/api/room").status_code == 200
    assert client.get("/").status_code == 200


def test_a_browser_that_comes_from_another_page_starts_anew_with_its_cookie(desk):
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = desk.fresh_client().get("/", params={"token": desk.access.token}, headers=headers)
    assert answer.status_code == 200
    assert "refresh" in answer.text
    assert "set-cookie" in answer.headers


def test_the_ticket_on_a_command_line_opens_once(desk):
    client = desk.fresh_client()
    ask = {"params": {"token": desk.access.ticket}, "follow_redirects": False}
    assert client.get("/", **ask).status_code == 303
    client.cookies.clear()
    assert client.get("/", **ask).status_code == 401
    # An empty token is not the ticket that was used up.
    assert client.get("/", params={"token": ""}).status_code == 401


@pytest.mark.parametrize(
    "cookie", ["x", "mmocnet_session_8765", "mmocnet_session_8765=x", "=;\x01"]
)
def test_a_wrong_cookie_is_none(desk, cookie):
    headers = {"Cookie": cookie.replace("8765", str(desk.access.port))}
    assert desk.fresh_client().get("/api/room", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "other",
    [
        'prefs={"theme":"dark"}',
        "flag",
        "t=hello world",
        "a[0]=1",
        "=",
        ",",
        "\xe9=\xe9",
        '"',
        "$x=1",
    ],
)
def test_a_cookie_of_another_server_locks_nobody_out(desk, other):
    ours = f"{desk.access.cookie}={desk.access.session}"
    for cookie in (f"{other}; {ours}", f"{ours}; {other}", f"{other};{ours}", f"{ours};"):
        client = desk.fresh_client()
        headers = {"Cookie": cookie.encode("latin-1")}
        assert client.get("/api/room", headers=headers).status_code == 200, cookie
    wrong = f"{desk.access.cookie}=x; x{ours}; y={ours}"
    assert desk.fresh_client(Cookie=wrong).get("/api/room").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example:8765", "evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:87650", ""],
)
def test_another_host_is_turned_away_even_with_the_token(desk, host):
    host = host.replace("8765", str(desk.access.port))
    for path in ("/", "/api/room", f"/?token={desk.access.token}", "/static/main.js"):
        assert desk.client.get(path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost:8765", "LocalHost:8765", "[::1]:8765"]
)
def test_this_machine_s_names_are_let_in(desk, host):
    host = host.replace("8765", str(desk.access.port))
    assert desk.client.get("/api/room", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:8765",
        "http://127.0.0.1:9000",
        "http://127.0.0.1:8765.evil.example",
        "",
    ],
)
def test_another_origin_is_turned_away(desk, origin):
    headers = {"Origin": origin.replace("8765", str(desk.access.port))}
    answer = desk.client.post("/api/readers", json={"name": "a"}, headers=headers)
    assert answer.status_code == 403
    assert desk.client.get("/api/room").json()["readers"] == []


def test_our_own_origin_is_let_in(desk):
    headers = {"Origin": f"http://localhost:{desk.access.port}"}
    answer = desk.client.post("/api/readers", json={"name": "a"}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(("port", "status"), [(80, 200), (8080, 403)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_usual_port_is_left_out_by_browsers(desk, host, port, status):
    access = Access(hosts_of("127.0.0.1", port), port)
    headers = {"Authorization": f"Bearer {access.token}", "X-Mmocnet": "1"}
    headers |= {"Host": host, "Origin": f"http://{host}"}

    async def ask() -> httpx.Response:
        app = httpx.ASGITransport(create_app(desk.context, access))
        async with httpx.AsyncClient(transport=app, base_url="http://x") as client:
            return await client.post("/api/readers", json={"name": "a"}, headers=headers)

    assert asyncio.run(ask()).status_code == status


def test_what_a_form_of_another_page_can_send_is_turned_away(desk):
    client = desk.fresh_client(Authorization=f"Bearer {desk.access.token}")
    study = f"/api/studies/{desk.study}"
    for method, path in (
        ("POST", "/api/readers"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/run"),
        ("POST", f"{study}/events"),
        ("POST", f"{study}/cancel"),
        ("DELETE", study),
    ):
        assert client.request(method, path).status_code == 403
    assert client.get(study).status_code == 200


def test_every_answer_has_the_headers_that_protect_it(desk):
    asked = [
        desk.client.get("/api/room"),
        desk.client.get("/api/nothing"),
        desk.client.get("/static/niivue.umd.js"),
        desk.client.get("/"),
        desk.fresh_client().get("/api/room"),
        desk.client.get("/api/room", headers={"Host": "evil.example"}),
        desk.client.get(f"/api/studies/{desk.study}/image.nii"),
    ]
    for answer in asked:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert asked[0].headers["cache-control"] == "no-store"
    assert asked[6].headers["cache-control"] == "no-store"
    assert not any("server" in answer.headers for answer in asked)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2f__init__.py",
        "/static//etc/passwd",
        "/static/%5c..%5capp.py",
        "/static/%00",
        "/static/",
        "/api/studies/..",
        "/api/studies/%2e%2e",
        "/api/studies/..%2f..%2froom.sqlite",
        "/api/studies/../../room.sqlite/image.nii",
        "/api/studies/%2e%2e/image.nii",
        "/api/studies/00000000000000ab/image.nii",
        "/api/studies/%00/image.nii",
        "/api/exports/..%2f..%2froom.sqlite/file",
        "/api/exports/%2e%2e/file",
        "/api/nothing",
        "/docs",
        "/openapi.json",
    ],
)
def test_paths_lead_nowhere(desk, path):
    # The client would fold dots away: the server gets them as they are.
    answer = _raw_get(desk.client, path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def _raw_get(client, path):
    url = client.base_url.copy_with(raw_path=path.encode())
    return client.send(client.build_request("GET", url))


def test_an_error_is_one_sentence(desk):
    for answer, status in (
        (desk.client.post("/api/readers", json={}), 400),
        (desk.client.post("/api/readers", json={"name": ""}), 400),
        (desk.client.post("/api/readers", json={"name": "a\u202eb"}), 400),
        (desk.client.post("/api/readers", json={"name": "a" * 41}), 400),
        (desk.client.post("/api/readers", content=b"\xff\xfe"), 400),
        (desk.client.post("/api/studies/run", json={"ids": ["nobody"]}), 404),
        (desk.client.post("/api/studies/run", json={"ids": "some"}), 400),
        (desk.client.post("/api/studies/run", json={"ids": [], "model": "/etc"}), 400),
        (desk.client.post("/api/studies/run", json={"ids": [], "threshold": 2}), 400),
        (desk.client.put("/api/room"), 405),
        (desk.client.get("/api/studies/nobody"), 404),
    ):
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error"}
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
def test_a_request_that_is_too_large_is_not_read(desk, kind):
    headers = {"Content-Type": kind}
    answer = desk.client.post("/api/readers", content=b" " * (17 * 2**20), headers=headers)
    assert answer.status_code == 413


def test_what_is_not_expected_is_logged_without_its_text(desk, monkeypatch, caplog):
    def broken(*_):
        raise ValueError("Doe^John")

    monkeypatch.setattr("mmocnet.web.routes_studies.list_studies", broken)
    with caplog.at_level(logging.DEBUG):
        answer = desk.client.get("/api/studies")
    assert answer.status_code == 500
    assert "ValueError" in answer.json()["error"]
    # The answer is there before the line.
    end = time.monotonic() + 5
    while "ValueError" not in caplog.text and time.monotonic() < end:
        time.sleep(0.02)
    assert "ValueError" in caplog.text
    assert "Doe" not in answer.text + caplog.text


def test_two_rooms_on_one_machine_have_cookies_of_their_own():
    assert Access((), 1).cookie != Access((), 2).cookie
    assert Access((), 1).token != Access((), 1).token


def test_only_a_taken_port_is_told_to_be_replaced_by_a_free_one():
    with (
        listening("127.0.0.1", 0) as taken,
        pytest.raises(InputError, match="--port 0 takes a free one"),
    ):
        listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match="cannot listen") as refused:
        listening("192.0.2.1", 0)
    assert "--port" not in str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "0",
        "0x0",
        "000.0.0.0",
        "0.0",
        "::",
        "::0",
        "0:0:0:0:0:0:0:0",
        "::0.0.0.0",
        "::ffff:0.0.0.0",
        "::ffff:0:0",
    ],
)
def test_no_way_to_write_every_address_is_listened_at(host):
    with pytest.raises(InputError, match=r"one address of this machine, got .* all of them"):
        listening(host, 0).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "127.0.0.2"])
def test_an_address_of_this_machine_is_listened_at(host):
    with listening(host, 0) as sock:
        assert sock.getsockname()[0].startswith("127.")
