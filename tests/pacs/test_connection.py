"""Against small real servers that misbehave, which Orthanc does not."""

import functools
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time

import pytest

from mmocnet.cli import main
from mmocnet.errors import InputError
from mmocnet.pacs.connection import Connection, Limits
from mmocnet.pacs.credentials import Credentials
from mmocnet.pacs.dicomweb import DicomWeb
from mmocnet.pacs.errors import AccessError, ServerError


@pytest.fixture
def serve():
    """Start a server whose answer to each request is a function of its handler."""
    running = []

    def start(answer, context=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                heard.append((self.path, dict(self.headers)))
                answer(self)

            def do_POST(self):
                heard.append((self.path, dict(self.headers)))
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *_):
                pass

        heard = []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        scheme = "http" if context is None else "https"
        return f"{scheme}://127.0.0.1:{server.server_port}", heard

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(status, content=b"", **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_another_host_is_not_gone_to(serve, status):
    other, heard = serve(_answer(200, b"[]"))
    url, _ = serve(_answer(status, Location=f"{other}/series"))
    with pytest.raises(ServerError, match="another host"):
        Connection(url, Credentials("me", "secret")).list("/series", {})
    with pytest.raises(ServerError, match=str(status)):
        Connection(url, Credentials("me", "secret")).post("/studies", b"image", "x/y")
    assert heard == []


def test_the_same_host_is_gone_to_and_not_round_in_circles(serve):
    def answer(handler):
        known = handler.path == "/new/series"
        _answer(200 if known else 302, b"[]", Location="/new" + handler.path)(handler)

    url, heard = serve(answer)
    assert Connection(url).list("/series", {}) == []
    assert [path for path, _ in heard] == ["/series", "/new/series"]
    url, heard = serve(_answer(302, Location="/series"))
    with pytest.raises(ServerError, match="circles"):
        Connection(url).list("/series", {})
    assert len(heard) == 4


@pytest.mark.parametrize("location", ["http://[oops/", "http://127.0.0.1:99999/", "//[x"])
def test_an_address_that_is_none_is_not_gone_to(serve, location):
    url, _ = serve(_answer(302, Location=location))
    with pytest.raises(ServerError, match="an address that is none") as caught:
        Connection(url).list("/series", {})
    assert location not in str(caught.value)
    with pytest.raises(ServerError, match="302"):
        Connection(url).post("/studies", b"image", "x/y")


def test_what_comes_with_a_redirect_is_not_read(serve):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", "http://localhost:1/")
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()
        handler.wfile.flush()
        time.sleep(0.5)

    url, _ = serve(answer)
    with pytest.raises(ServerError, match="another host"):
        Connection(url, limits=Limits(read_s=0.2)).list("/series", {})


def test_a_token_is_said_and_nothing_else_of_us(serve, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url, heard = serve(_answer(204))
    Connection(url, Credentials(token="abc")).list("/series", {})
    Connection(url).list("/series", {})
    assert heard[0][1]["Authorization"] == "Bearer abc"
    assert "Authorization" not in heard[1][1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "DICOM JSON"),
        (b"[" * 100_000, "DICOM JSON"),
        (b'{"a": 1}', "list of DICOM records"),
        (b"[1, 2]", "list of DICOM records"),
        (b"[" + b" " * 2000 + b"]", "at most"),
    ],
)
def test_an_answer_that_is_none_or_too_long_is_refused(serve, content, said):
    url, _ = serve(_answer(200, content))
    most = 1000 if said == "at most" else 10**6
    with pytest.raises(ServerError, match=said):
        Connection(url, limits=Limits(json_bytes=most)).list("/series", {})


def test_a_server_that_is_silent_or_slow_is_left(serve):
    def slow(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" " * 2**18)
            time.sleep(0.05)

    url, _ = serve(lambda _: time.sleep(0.6))
    with pytest.raises(ServerError, match="in time"):
        Connection(url, limits=Limits(read_s=0.2)).list("/series", {})
    url, _ = serve(slow)
    with pytest.raises(ServerError, match=r"within 0\.3|within 0"):
        Connection(url, limits=Limits(whole_s=0.3)).list("/series", {})


def _drip(start, piece, first=lambda: None):
    """Answer without an end that anybody would wait for."""

    def answer(handler):
        first()
        handler.wfile.write(start)
        for _ in range(400):
            handler.wfile.write(piece)
            time.sleep(0.02)

    return answer


BODY = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ")
ENDLESS = {
    "body": BODY,
    "body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"a"),
    "headers before the answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("sent", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_comes_byte_by_byte_is_cut_off(serve, request, sent, secure):
    ca, context = request.getfixturevalue("certificate") if secure else (None, None)
    url, _ = serve(_drip(*sent), context)
    connection = Connection(url, ca=ca, limits=Limits(read_s=5, whole_s=0.3))
    for ask in (
        lambda: connection.list("/series", {}),
        lambda: connection.post("/studies", b"image", "x/y"),
    ):
        start = time.monotonic()
        with pytest.raises(ServerError, match="the whole answer within"):
            ask()
        assert time.monotonic() - start < 4


def test_a_cut_answer_that_looks_whole_is_none(serve):
    url, _ = serve(_drip(b"HTTP/1.1 200 OK\r\n\r\n[]", b" "))
    with pytest.raises(ServerError, match="the whole answer within"):
        Connection(url, limits=Limits(whole_s=0.3)).list("/series", {})


def test_once_told_to_stop_little_is_waited_for(serve):
    url, _ = serve(_drip(*BODY))
    connection = Connection(url, limits=Limits(stopped_s=1.0))
    quick, _ = serve(_answer(200, b"[]"))
    threading.Timer(0.1, connection.stop.set).start()
    for most_s in (4.0, 0.9):
        start = time.monotonic()
        with pytest.raises(ServerError, match="after a stop"):
            connection.list("/series", {})
        # The second answer has nothing left of the time that all have together.
        assert time.monotonic() - start < most_s
    other = Connection(quick)
    other.stop.set()
    assert other.list("/series", {}) == []


def test_sigterm_ends_the_wait_for_an_answer(serve, tmp_path, monkeypatch, capsys):
    url, _ = serve(_drip(*BODY, first=lambda: os.kill(os.getpid(), signal.SIGTERM)))
    short = functools.partial(Limits, stopped_s=0.3)
    monkeypatch.setattr("mmocnet.pacs.connection.Limits", short)
    start = time.monotonic()
    assert main(["pacs", "--url", url, "--state", str(tmp_path / "state")]) == 2
    assert time.monotonic() - start < 4
    assert "the whole answer within" in capsys.readouterr().err


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_refusal_is_one_sentence_without_the_address(serve, status):
    url, _ = serve(_answer(status, b"Fake^Patient"))
    with pytest.raises(ServerError) as caught:
        Connection(url).list("/studies/1.2.3/series", {"SeriesInstanceUID": "4.5.6"})
    assert isinstance(caught.value, AccessError) == (status in (401, 403))
    for secret in ("1.2.3", "4.5.6", "Fake", "\n"):
        assert secret not in str(caught.value)


def test_an_object_that_is_there_already_is_stored_and_another_failure_is_not(serve, tmp_path):
    (tmp_path / "sr.dcm").write_bytes(b"object")
    for reason, stored in ((0x0111, True), (0xA700, False)):
        item = {
            "00081155": {"vr": "UI", "Value": ["1.2.3"]},
            "00081197": {"vr": "US", "Value": [reason]},
        }
        record = {"00081198": {"vr": "SQ", "Value": [item]}}
        url, _ = serve(_answer(409, json.dumps(record).encode()))
        archive = DicomWeb(Connection(url))
        if stored:
            archive.store("1.2", {"1.2.3": tmp_path / "sr.dcm"})
        else:
            with pytest.raises(ServerError, match="A700H"):
                archive.store("1.2", {"1.2.3": tmp_path / "sr.dcm"})


def test_a_conflict_without_a_reason_is_no_success(serve, tmp_path):
    (tmp_path / "sr.dcm").write_bytes(b"object")
    url, _ = serve(_answer(409))
    with pytest.raises(ServerError, match="did not store"):
        DicomWeb(Connection(url)).store("1.2", {"1.2.3": tmp_path / "sr.dcm"})


@pytest.fixture
def certificate(tmp_path):
    """A certificate of the loopback by an authority that nobody knows, and what a server needs."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pacs -keyout {key}"
    more = f"-out {certificate} -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([openssl, *words.split(), *more.split()], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def test_a_certificate_is_verified_and_a_private_authority_can_be_given(
    serve, certificate, tmp_path
):
    certificate, context = certificate
    url, heard = serve(_answer(200, b"[]"), context)
    with pytest.raises(ServerError, match="--ca"):
        Connection(url, Credentials("me", "secret")).list("/series", {})
    assert heard == []
    assert Connection(url, ca=certificate).list("/series", {}) == []
    with pytest.raises(InputError, match="--ca"):
        Connection(url, ca=tmp_path / "none.pem")
