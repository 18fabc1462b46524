"""TLS of the views, and certificates in place of tokens."""

import asyncio
import shutil
import ssl
import subprocess
import sys
import warnings
from pathlib import Path

import httpx
import pytest

from millstream.cli.local_workers import _only
from millstream.settings import Settings
from millstream.web.scatter_gather import connect
from millstream.web.server import TlsError, Web, tls
from millstream.web.tokens import digest
from tests.framework.apps.shop import app
from tests.framework.guarded import Served, answers, request
from tests.framework.service import free_port

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")

TOKEN = "token-" + "x" * 40
BOTH = "extendedKeyUsage=serverAuth,clientAuth"


def openssl(folder: Path, *args: str) -> None:
    done = subprocess.run(
        ["openssl", *args], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def make(folder: Path, name: str, authority: str | None, days: int = 1, usage: str = BOTH) -> None:
    """Make NAME.pem and NAME.key; without an authority it is one."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    if authority is None:
        extensions = ["-addext", "keyUsage=critical,keyCertSign"]
        openssl(
            folder,
            "req",
            "-x509",
            *key,
            "-days",
            "1",
            "-subj",
            f"/CN={name}",
            *extensions,
            "-out",
            f"{name}.pem",
        )
        return
    openssl(folder, "req", "-new", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(
        f"basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n{usage}\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    signed = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", str(days)]
    openssl(
        folder,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        *signed,
        "-extfile",
        f"{name}.ext",
        "-out",
        f"{name}.pem",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates, and of the tokens of somebody who may ask."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "other-ca"):
        make(folder, authority, None)
    for name in ("server", "worker"):
        make(folder, name, "ca")
    make(folder, "expired", "ca", days=-1)
    make(folder, "server-only", "ca", usage="extendedKeyUsage=serverAuth")
    make(folder, "stranger", "other-ca")
    (folder / "tokens").write_text(f"somebody read {digest(TOKEN)}\n")
    return folder


def settings(folder: Path, **more: object) -> Settings:
    files = {"tls_cert": folder / "server.pem", "tls_key": folder / "server.key", "tls_ca": folder / "ca.pem"}
    return Settings(**files | {"tokens": folder / "tokens"} | more)  # type: ignore[arg-type] # as they are named


def client(folder: Path, certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
    return context


def outdated(folder: Path) -> ssl.SSLContext:
    context = client(folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


# By what docs/security.md calls them: the certificate that is shown, and what is asked.
CLIENTS = {
    "no certificate": (None, request()),
    "no certificate, `/live`": (None, request("/live")),
    "no certificate, but a known token": (None, request(token=TOKEN)),
    "a certificate of the authority": ("worker", request()),
    "a certificate of the authority, `POST`": ("worker", request(method="POST")),
    "a certificate of the authority, too often": ("worker", request()),
    "a certificate of the authority that has expired": ("expired", request(token=TOKEN)),
    "a certificate of the authority for servers only": ("server-only", request(token=TOKEN)),
    "a certificate of another authority": ("stranger", request(token=TOKEN)),
    "a certificate that signs itself": ("other-ca", request(token=TOKEN)),
    "no TLS": ("", request(token=TOKEN)),
    "TLS 1.1": ("1.1", request(token=TOKEN)),
}


@pytest.mark.parametrize(("name", "promised"), answers("client").items())
async def test_answers_are_as_promised(folder: Path, name: str, promised: str) -> None:
    often = name.endswith("too often")
    certificate, raw = CLIENTS[name]
    context = None
    if certificate != "":
        context = outdated(folder) if certificate == "1.1" else client(folder, certificate)
    async with Served(settings(folder, rate_limit=0.1 if often else 0)) as server:
        if promised == "refused":
            with pytest.raises((OSError, ValueError)):  # it cannot connect, or gets no answer
                await server.send(raw, context)
            return
        for _ in range(3 if often else 1):
            answer = await server.send(raw, context)
            assert answer.status == int(promised)
            answer.assert_careful()


def test_all_clients_are_promised() -> None:
    assert list(answers("client")) == list(CLIENTS)


async def test_without_tokens_only_certificates_are_let_in(folder: Path) -> None:
    async with Served(settings(folder, tokens=None)) as server:
        assert (await server.send(request("/ready"), client(folder))).status == 200
        assert (await server.send(request(), client(folder, "worker"))).status == 200
        answer = await server.send(request(token=TOKEN), client(folder))
    assert (answer.status, "certificate" in answer.problem["detail"]) == (401, True)


async def test_without_an_authority_certificates_say_nothing(folder: Path) -> None:
    async with Served(settings(folder, tls_ca=None)) as server:
        for certificate in ("worker", "stranger"):
            assert (await server.send(request(), client(folder, certificate))).status == 401
            assert (await server.send(request(token=TOKEN), client(folder, certificate))).status == 200


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"tls_cert": "none.pem"},
            "MILLSTREAM_TLS_CERT=none.pem and MILLSTREAM_TLS_KEY=server.key: No such file",
        ),
        ({"tls_key": "worker.key"}, "MILLSTREAM_TLS_KEY=worker.key: .*MISMATCH"),
        ({"tls_key": "tokens"}, "MILLSTREAM_TLS_KEY=tokens: "),
        ({"tls_ca": "tokens"}, "MILLSTREAM_TLS_CA=tokens: "),
        ({"tls_ca": "none.pem"}, "MILLSTREAM_TLS_CA=none.pem: No such file"),
    ],
)
def test_a_file_that_is_not_a_certificate(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(TlsError, match=f"cannot be encrypted with .*{said}"):
        tls(settings(Path(), **{name: Path(file) for name, file in files.items()}))


@pytest.mark.filterwarnings("ignore::faust.exceptions.AlreadyConfiguredWarning")
async def test_the_views_are_behind_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(app.conf, "web_port", port)
    web = Web(app)
    with pytest.raises(RuntimeError, match="without their guard"):
        await web.start_server()
    web.secure(settings(folder))
    for view in app.web.views.values():
        web.add_view(type(view))
    assert web.cors  # Faust makes it when it starts, too
    await web.start_server()
    try:
        async with httpx.AsyncClient(verify=client(folder), base_url=f"https://127.0.0.1:{port}") as asker:
            for path in (
                "/overview",
                "/tables",
                "/health",
                "/startup",
                "/metrics",
                "/tables/seen/1",
                "/none",
            ):
                assert (await asker.get(path)).status_code == 401
            found = [(await asker.get(path)).status_code for path in ("/", "/live", "/ready")]
            assert found == [200, 200, 503]
            answer = await asker.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
            assert (answer.status_code, answer.headers["Server"]) == (200, "millstream")
    finally:
        await web.stop_server()


@pytest.mark.filterwarnings("ignore::faust.exceptions.AlreadyConfiguredWarning")
async def test_a_worker_that_cannot_guard_its_views_does_not_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.conf, "web_port", free_port())
    for changed, said in (
        ({"tokens": folder / "none"}, "MILLSTREAM_TOKENS"),
        ({"tls_ca": folder / "none"}, "TLS_CA"),
    ):
        conf = settings(folder, **changed)
        monkeypatch.setattr(app, "settings", conf)
        with pytest.raises(SystemExit, match=rf"millstream: .*{said}.*No such file"):
            await app.on_first_start()


async def test_who_serves_no_views_needs_no_files() -> None:
    missing = {f"MILLSTREAM_{name}": "/none" for name in ("TOKENS", "TLS_CERT", "TLS_KEY", "TLS_CA")}
    load = "import tests.framework.apps.shop"
    loaded = await asyncio.create_subprocess_exec(sys.executable, "-c", load, env=missing)
    assert await loaded.wait() == 0


async def test_run_trusts_its_own_worker_only(folder: Path) -> None:
    async with Served(settings(folder)) as server:
        for certificate, trusted in (("server.pem", True), ("worker.pem", False), ("none.pem", False)):
            async with httpx.AsyncClient(verify=_only(folder / certificate)) as asker:
                if trusted:
                    assert (await asker.get(f"https://localhost:{server.port}/live")).status_code == 200
                else:
                    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                        await asker.get(f"https://localhost:{server.port}/live")


async def test_workers_ask_each_other_by_certificate(folder: Path) -> None:
    conf = settings(folder)
    async with Served(conf) as server, connect(conf) as worker:
        assert (await worker.get(f"https://127.0.0.1:{server.port}/tables")).status_code == 200
        given = await worker.get(f"https://127.0.0.1:{server.port}/given", headers={"Authorization": TOKEN})
        assert given.json() is None
        async with connect(settings(folder, tls_ca=None)) as other:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await other.get(f"https://127.0.0.1:{server.port}/live")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await worker.get(f"https://localhost:{server.port}/live")
