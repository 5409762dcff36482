import base64

import pytest

from mmocnet.errors import InputError
from mmocnet.pacs.connection import check_url
from mmocnet.pacs.credentials import Credentials, read_credentials


def _file(tmp_path, text, mode=0o600):
    path = tmp_path / "secret.env"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_user_or_a_token_comes_from_the_environment():
    user = {"MMOCNET_PACS_USER": "me", "MMOCNET_PACS_PASSWORD": "pa=ss"}
    assert read_credentials(None, user) == Credentials("me", "pa=ss")
    assert read_credentials(None, {"MMOCNET_PACS_TOKEN": "t"}) == Credentials(token="t")
    assert read_credentials(None, {"HOME": "/root"}) is None


def test_a_private_file_goes_before_the_environment(tmp_path):
    text = "# ours\n\nMMOCNET_PACS_USER = me\nMMOCNET_PACS_PASSWORD=a=b\n"
    found = read_credentials(_file(tmp_path, text), {"MMOCNET_PACS_TOKEN": "t"})
    assert found == Credentials("me", "a=b")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    with pytest.raises(InputError, match="mode 0600"):
        read_credentials(_file(tmp_path, "MMOCNET_PACS_TOKEN=t", mode), {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MMOCNET_PACS_USER=me",
        "MMOCNET_PACS_PASSWORD=secret",
        "MMOCNET_PACS_TOKEN=secret\nMMOCNET_PACS_USER=me\nMMOCNET_PACS_PASSWORD=secret",
    ],
)
def test_half_of_what_is_needed_is_refused_without_repeating_it(tmp_path, text):
    with pytest.raises(InputError, match="MMOCNET_PACS") as caught:
        read_credentials(_file(tmp_path, text), {})
    assert "secret" not in str(caught.value).replace("secret.env", "")


def test_a_file_that_is_none_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_credentials(tmp_path / "none", {})
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "bytes").chmod(0o600)
    with pytest.raises(InputError, match="expected text"):
        read_credentials(tmp_path / "bytes", {})


def test_credentials_are_not_printed():
    assert "secret" not in repr(Credentials("secret-user", "secret", "secret-token"))


def test_plain_http_is_for_this_machine_alone():
    for url in ("http://127.0.0.1:8042/dicom-web", "http://localhost/x", "http://[::1]:1/x"):
        assert check_url(url) == url
    for url in ("http://10.0.0.3/dicom-web", "http://localhost.example/x", "http://pacs"):
        with pytest.raises(InputError, match="insecure-http"):
            check_url(url)
        assert check_url(url, insecure_http=True) == url
    assert check_url("https://pacs.example/dicom-web/") == "https://pacs.example/dicom-web"


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@pacs.example/x",
        "https://secret@pacs.example/x",
        "https://pacs.example/x?token=secret",
        "https://pacs.example/x#secret",
        "ftp://secret/x",
        "secret",
        "https:///secret",
        "https://[secret",
        "https://pacs.example:secret/x",
    ],
)
def test_a_url_that_is_none_or_holds_a_secret_is_refused_without_repeating_it(url):
    with pytest.raises(InputError, match="--url") as caught:
        check_url(url)
    assert "secret" not in str(caught.value).replace("a secret there", "")


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (["TOKEN"], "secret\u20ac"),
        (["TOKEN"], "sec ret"),
        (["TOKEN"], "secret\r\nX-Other: 1"),
        (["TOKEN"], "secret\udce9"),
        (["USER", "PASSWORD"], "secret\udce9"),
        (["USER", "PASSWORD"], "se:cret"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_repeating_it(names, value):
    environ = {f"MMOCNET_PACS_{name}": value for name in names}
    with pytest.raises(InputError, match=f"expected MMOCNET_PACS_{names[0]}") as caught:
        read_credentials(None, environ)
    assert "cret" not in str(caught.value)
    # Nor in what led to it, which a traceback shows.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_of_any_letters_is_sent():
    environ = {"MMOCNET_PACS_USER": "J\xf6rg", "MMOCNET_PACS_PASSWORD": "a:\u20ac \xa0"}
    found = read_credentials(None, environ)
    assert found is not None
    sent = base64.b64decode(found.header.removeprefix("Basic ")).decode()
    assert sent == "J\xf6rg:a:\u20ac \xa0"
