"""Where `pman serve` listens, and what it refuses before it does."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from docker.transport import UnixHTTPAdapter

from pman.cli.main import main
from pman.settings import DECLARED, load
from tests.engines.relay import Certificates
from tests.live import DEADLINE, Server, refused_process, refused_start, unreached, until

TOKEN = "a/token+of/the~site=="  # noqa: S105  (of no site)


def local(directory: Path, **environ: str) -> dict[str, str]:
    state = str(directory / ".pman")
    return {"CONTAINER_ENV": "local", "STOREBASE": str(directory), "LOCAL_STATE": state, **environ}


@contextmanager
def serving(environ: Mapping[str, str], *options: str) -> Iterator[Server]:
    server = Server(environ, 0, *options)
    try:
        yield server
    finally:
        server.stop()


def pman(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(main, words, env={**dict.fromkeys((*DECLARED, "PMAN_URL")), **environ})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_the_local_engine_never_listens_beyond_loopback(host: str, tmp_path: Path) -> None:
    assert f"--host='{host}'" in refused_start(local(tmp_path), "--host", host)


def test_the_local_engine_answers_to_names_of_this_machine_only(tmp_path: Path) -> None:
    with serving(local(tmp_path)) as server:
        for host, status in (("evil.example:5010", 403), ("localhost:5010", 200), ("127.0.0.1", 200)):
            assert requests.get(server.url, headers={"Host": host}, timeout=60).status_code == status


def test_a_port_that_is_taken_stops_the_start_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert f"PORT={port}" in refused_process(local(tmp_path), "--port", str(port))


@pytest.mark.parametrize("name", ["AUTH_TOKEN", "AUTH_READ_TOKEN"])
@pytest.mark.parametrize(
    "token",
    [
        "aaaaaaaaaaaaaaaa", "0123456789abcdef", "abcdefghijklmnop", "passwordpassword", "password12345678",
        "abcabcabcabcabcabc", "secret-token-1234", "qwertyuiopasdfgh", "1111111122222222", "short",
    ],
)  # fmt: skip
def test_a_token_that_is_easy_to_guess_stops_the_start(name: str, token: str, tmp_path: Path) -> None:
    said = refused_start({"AUTH_TOKEN": TOKEN, **local(tmp_path), name: token})

    assert f"{name}='********'" in said
    assert token not in said


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"AUTH_READ_TOKEN": TOKEN}, "AUTH_READ_TOKEN goes with AUTH_TOKEN"),
        ({"AUTH_TOKEN": TOKEN, "AUTH_READ_TOKEN": TOKEN}, "it is AUTH_TOKEN"),
        ({"AUTH_V1": "no"}, "AUTH_V1=no leaves API v1 open"),
        ({"TLS_CERT": "/a.pem"}, "TLS_CERT needs TLS_KEY"),
        ({"TLS_KEY": "/a.pem"}, "TLS_KEY goes with TLS_CERT"),
        ({"TLS_CLIENT_CA": "/a.pem"}, "TLS_CLIENT_CA goes with TLS_CERT"),
        ({"ALLOWED_HOSTS": "http://pman"}, "ALLOWED_HOSTS"),
        ({"TRUSTED_PROXIES": "*"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/99"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "10.0.0"}, "TRUSTED_PROXIES"),
        ({"HTTP_BODY_BYTES": "10000000"}, "use at least HTTP_BODY_BYTES"),
    ],
)
def test_a_setting_of_the_login_without_its_partner_stops_the_start(
    environ: Mapping[str, str], said: str, tmp_path: Path
) -> None:
    assert said in refused_start(local(tmp_path, **environ))


def test_without_a_token_beyond_loopback_each_start_says_so_with_the_lines_that_mend_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = {
            **unreached("docker", tmp_path),
            "DOCKER_HOST": "unix:///nonexistent",
            "ENGINE_TIMEOUT": "1",
        }

        alone = refused_process(environ, "--host", "0.0.0.0", "--port", port)
        with_token = refused_process({**environ, "AUTH_TOKEN": TOKEN}, "--host", "0.0.0.0", "--port", port)
        v1_open = refused_process(
            {**environ, "AUTH_TOKEN": TOKEN, "AUTH_V1": "no"}, "--host", "0.0.0.0", "--port", port
        )
        for_all = refused_process(environ, "--uds", str(tmp_path), "--uds-mode", "666")
        for_a_group = refused_process(environ, "--uds", str(tmp_path), "--uds-mode", "660")

    assert "can run, read and delete jobs" in alone
    assert "AUTH_TOKEN=$(openssl rand -hex 32)" in alone
    assert "COMPUTE_SERVICE_URL=http://pman:$AUTH_TOKEN@pman:5010/api/v1/" in alone
    assert "AUTH_TOKEN" not in with_token
    assert "AUTH_V1=no: whoever reaches pman" in v1_open
    assert "openssl" not in v1_open
    assert "can run, read and delete jobs" in for_all
    assert "can run, read and delete jobs" not in for_a_group


def test_a_token_with_any_letters_that_it_may_have_is_sent_by_its_address(tmp_path: Path) -> None:
    with serving(local(tmp_path, AUTH_TOKEN=TOKEN)) as server:
        assert "%2F" in server.url
        assert requests.get(server.url, timeout=60).status_code == 200
        assert pman("ps", PMAN_URL=server.url).exit_code == 0
        assert pman("ps", PMAN_URL=server.address, PMAN_TOKEN=TOKEN).exit_code == 0
        refused = pman("ps", PMAN_URL=server.address)

    assert refused.exit_code == 1
    assert "PMAN_TOKEN" in refused.stderr


def test_no_message_shows_the_token_of_an_address() -> None:
    for url in (f"http://pman:{TOKEN.replace('/', '%2F')}@127.0.0.1:1/", "ftp://pman:sesame-open@host/"):
        said = pman("ps", PMAN_URL=url).output
        assert "127.0.0.1:1" in said or "ftp://host" in said
        assert "pman:" not in said.replace("pman: ", "")


def test_several_slashes_of_an_address_are_one(tmp_path: Path) -> None:
    with serving(local(tmp_path)) as server:
        for path in ("/api/v1//", "/api//v1/", "///healthz"):
            answer = requests.get(server.address + path, allow_redirects=False, timeout=60)
            assert answer.status_code == 200


def test_a_connection_is_never_upgraded_and_counts_as_long_as_it_is_there(tmp_path: Path) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with serving(local(tmp_path, HTTP_CONNECTIONS="8")) as server:
        for _ in range(20):
            answer = requests.get(f"{server.root}/healthz", headers=upgrade, timeout=60)
            assert answer.status_code == 200


def test_a_network_of_proxies_is_the_same_however_it_is_written() -> None:
    loaded = load({"TRUSTED_PROXIES": "10.0.0.1/8,127.0.0.1,0::1"}, ["docker"])

    assert loaded["TRUSTED_PROXIES"] == ["10.0.0.0/8", "127.0.0.1", "::1"]


# --- a socket file --------------------------------------------------------------------------------


def asked(path: Path) -> int:
    """The status of GET /api/v1/ by a socket file."""
    with requests.Session() as session:
        session.mount("http+docker://", UnixHTTPAdapter(f"http+unix://{path}"))
        return session.get("http+docker://localhost/api/v1/", timeout=60).status_code


def test_a_socket_file_is_served_by_its_mode_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pman.sock"
    with serving(local(tmp_path), "--uds", str(path), "--uds-mode", "600") as server:
        assert server.address == f"unix://{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert asked(path) == 200
        assert pman("ps", PMAN_URL=f"unix://{path}").exit_code == 0
        assert pman("ps", PMAN_URL=f"unix://{path}/api/v1/").exit_code == 0

    assert not path.exists()
    away = pman("ps", PMAN_URL=f"unix://{path}")
    assert (away.exit_code, f"no pman answers at unix://{path}" in away.stderr) == (1, True)


def test_the_socket_file_of_a_pman_that_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "pman.sock"
    killed = Server(local(tmp_path), 0, "--uds", str(path))
    killed.stop(signal.SIGKILL)
    assert path.is_socket()

    with serving(local(tmp_path), "--uds", str(path)):
        assert asked(path) == 200
        assert "somebody listens there" in refused_process(local(tmp_path), "--uds", str(path))
        assert asked(path) == 200


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    (tmp_path / "link").symlink_to(path)

    for name in ("precious", "link", "no/such/directory", "x" * 200):
        assert "--uds=" in refused_process(local(tmp_path), "--uds", str(tmp_path / name))
    assert path.read_text() == "kept"
    assert "three digits" in refused_start(local(tmp_path), "--uds", str(path), "--uds-mode", "rw")


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with cert.pem and key.pem; the certificate is its own authority."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there to make certificates with")
    return Certificates(tmp_path_factory.mktemp("pem")).directory


def certified(directory: Path) -> dict[str, str]:
    return {"TLS_CERT": str(directory / "cert.pem"), "TLS_KEY": str(directory / "key.pem")}


def test_https_is_served_and_the_command_line_speaks_it(pem: Path, tmp_path: Path) -> None:
    own = str(pem / "cert.pem")
    with serving(local(tmp_path, **certified(pem))) as server:
        assert server.address.startswith("https://127.0.0.1:")
        assert requests.get(server.url, verify=own, timeout=60).status_code == 200
        assert pman("ps", PMAN_URL=server.url, PMAN_CA=own).exit_code == 0
        distrusted = pman("ps", PMAN_URL=server.url)

    assert distrusted.exit_code == 1
    assert "PMAN_CA" in distrusted.stderr


def test_a_client_without_a_certificate_is_not_heard_where_one_is_asked_for(
    pem: Path, tmp_path: Path
) -> None:
    own, key = str(pem / "cert.pem"), str(pem / "key.pem")
    with serving(local(tmp_path, TLS_CLIENT_CA=own, **certified(pem))) as server:
        with pytest.raises(requests.RequestException):
            requests.get(server.url, verify=own, timeout=60)
        assert requests.get(server.url, verify=own, cert=(own, key), timeout=60).status_code == 200
        by = {"PMAN_URL": server.url, "PMAN_CA": own, "PMAN_CERT": own, "PMAN_KEY": key}
        assert pman("ps", **by).exit_code == 0
        assert pman("ps", **{**by, "PMAN_CERT": "", "PMAN_KEY": ""}).exit_code == 1

    assert "PMAN_CA='/nowhere'" in pman("ps", PMAN_URL=server.url, PMAN_CA="/nowhere").stderr
    assert "PMAN_KEY goes with" in pman("ps", PMAN_URL=server.url, PMAN_KEY=key).stderr


def test_tls_on_a_socket_file_stops_the_start_by_name(pem: Path, tmp_path: Path) -> None:
    told = refused_start(local(tmp_path, **certified(pem)), "--uds", str(tmp_path / "pman.sock"))

    assert "TLS_CERT is set" in told


def test_connections_that_do_not_agree_on_tls_take_no_place_from_others(pem: Path, tmp_path: Path) -> None:
    few = {"HTTP_CONNECTIONS_PER_ADDRESS": "4", "HTTP_HEADER_SECONDS": "2"}
    with serving(local(tmp_path, **certified(pem), **few)) as server, ExitStack() as stack:
        host, port = server.address.removeprefix("https://").split(":")
        silent = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=DEADLINE))
            for _ in range(8)
        ]

        answer = requests.get(f"{server.address}/healthz", verify=str(pem / "cert.pem"), timeout=DEADLINE)

        assert answer.status_code == 200
        assert all(map(_is_closed, silent))  # the last ones after two seconds


def test_an_encrypted_connection_takes_one_place(pem: Path, tmp_path: Path) -> None:
    with (
        serving(local(tmp_path, **certified(pem), HTTP_CONNECTIONS_PER_ADDRESS="4")) as server,
        ExitStack() as stack,
    ):
        connections = [stack.enter_context(closing(encrypted(server, pem))) for _ in range(4)]

        for connection in [*connections, *connections]:
            assert healthy(connection)


def test_what_has_begun_is_answered_at_the_end_and_nothing_new_is_taken(pem: Path, tmp_path: Path) -> None:
    with serving(local(tmp_path, **certified(pem))) as server, ExitStack() as stack:
        begun = stack.enter_context(closing(encrypted(server, pem)))
        begun.putrequest("POST", "/api/v1/")
        begun.putheader("Content-Type", "application/json")
        begun.putheader("Content-Length", "2")
        begun.endheaders(b"[")
        silent = stack.enter_context(socket.create_connection((begun.host, begun.port), timeout=DEADLINE))
        assert healthy(stack.enter_context(closing(encrypted(server, pem))))  # so the others were heard

        server.process.terminate()
        until(lambda: _refuses(begun.host, begun.port))
        assert _is_closed(silent)
        begun.send(b"]")

        assert begun.getresponse().status == 400


def encrypted(server: Server, pem: Path) -> http.client.HTTPSConnection:
    host, _, port = server.address.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=pem / "cert.pem")
    return http.client.HTTPSConnection(host, int(port), context=context, timeout=DEADLINE)


def healthy(connection: http.client.HTTPSConnection) -> bool:
    connection.request("GET", "/healthz")
    with connection.getresponse() as response:
        return response.status == 200 and bool(response.read())


def _refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_a_file_of_tls_that_does_not_do_stops_the_start_by_its_name(pem: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN NONSENSE-----\n")
    good = certified(pem)
    for name in ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"):
        for path in (bad, tmp_path / "missing.pem", tmp_path):
            said = refused_start(local(tmp_path, **{**good, name: str(path)}))
            assert f"{name}='{path}'" in said


def test_a_key_with_a_password_or_of_another_certificate_stops_the_start(pem: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other").directory
    locked = tmp_path / "locked.pem"
    command = [
        "openssl",
        "rsa",
        "-aes256",
        "-passout",
        "pass:x",
        "-in",
        str(pem / "key.pem"),
        "-out",
        str(locked),
    ]
    subprocess.run(command, check=True, capture_output=True)

    for key in (other / "key.pem", locked):
        assert f"TLS_KEY='{key}'" in refused_start(local(tmp_path, **{**certified(pem), "TLS_KEY": str(key)}))


def test_followers_of_events_leave_connections_to_others(tmp_path: Path) -> None:
    with serving(local(tmp_path, HTTP_CONNECTIONS="8")) as server, ExitStack() as stack:

        def follows() -> int:
            url = f"{server.address}/api/v2/events"
            return stack.enter_context(requests.get(url, stream=True, timeout=60)).status_code

        assert [follows() for _ in range(5)] == [200] * 4 + [503]
        assert requests.get(f"{server.address}/healthz", timeout=60).status_code == 200
