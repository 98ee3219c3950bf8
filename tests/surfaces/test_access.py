"""The service behind its door: keys, headers, TLS, and who may listen beyond this machine."""

import asyncio
import datetime
import ipaddress
import math
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI

from millwright.errors import BadInput, NotFound
from millwright.privacy.access import create_key, revoke_key
from millwright.privacy.audit import read_audit
from millwright.privacy.vault import open_keys
from millwright.project import Project
from millwright.settings import change_settings
from millwright.surfaces.web import Tls, serve
from tests.conftest import csv_of, desk_rows
from tests.serve.tiny import Tiny, serving
from tests.surfaces.test_service import ask, predict, run

BODY = {"inputs": ["card lost"], "subject": "ada"}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(make_project) -> Project:
    return serving(make_project(csv_of(desk_rows(30))))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200),
     ("10.0.0.7", 200), ("LOCALHOST", 200), ("evil.example", 403), ("evil.example:8000", 403),
     ("127.0.0.1.evil.example", 403), ("localhost@evil.example", 403), ("evil.example#localhost", 403),
     ("[:::]", 403)],
)  # fmt: skip
def test_without_a_key_no_page_gets_in_by_a_name_of_its_own_that_it_points_here(project, host, status):
    """What DNS rebinding does: to the browser the page and this machine are then one site."""
    body = {"inputs": ["card lost"]}
    answer = ask(project, "POST", "/v1/predictions", json=body, headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["field"] == "host"
        assert answer.json()["error"]["remedy"].startswith("make a key with `millwright keys create`")
    _, key = create_key(project, "website", ["predict"])
    behind_a_proxy = {**bearer(key), "host": host}
    assert ask(project, "POST", "/v1/predictions", json=body, headers=behind_a_proxy).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/predictions", "predict"),
        ("POST", "/v1/feedback", "feedback"),
        ("GET", "/v1/models", "review"),
        ("GET", "/metrics", "predict"),
        ("GET", "/docs", "predict"),
        ("POST", "/v1/subjects/export", "admin"),
        ("POST", "/v1/subjects/erase", "admin"),
        ("POST", "/v1/subjects/consent", "admin"),
    ],
)
def test_each_route_wants_a_key_with_its_scope(project, method, path, scope):
    _, right = create_key(project, "right", [scope])
    _, wrong = create_key(project, "wrong", ["predict" if scope in ("feedback", "admin") else "feedback"])

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        refused = await client.request(method, path, json=BODY)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["remedy"].startswith("send Authorization")
        if scope in ("feedback", "admin") or path == "/v1/predictions":
            assert (await client.request(method, path, json=BODY, headers=bearer(wrong))).status_code == 403
        passed = await client.request(method, path, json=BODY, headers=bearer(right))
        assert passed.status_code not in (401, 403)

    run(project, scenario)


def test_a_supervisor_needs_no_key(project):
    create_key(project, "website", ["predict"])
    assert ask(project, "GET", "/healthz").status_code == 200
    assert ask(project, "GET", "/readyz").status_code == 200


def test_a_revoked_key_opens_nothing_in_a_running_service(project):
    key, token = create_key(project, "website", ["predict"])

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        assert (await client.post("/v1/predictions", json=BODY, headers=bearer(token))).status_code == 200
        revoke_key(project, key.id)
        app.door.guard.read()  # as it does by itself a second later
        assert (await client.post("/v1/predictions", json=BODY, headers=bearer(token))).status_code == 401

    run(project, scenario)


def test_requests_that_come_together_wait_for_one_reading_of_the_keys(project, monkeypatch):
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        guard, times = app.door.guard, []
        read = guard.read
        monkeypatch.setattr(guard, "read", lambda: (times.append(1), read()))
        guard._read_at = -math.inf
        await asyncio.gather(*(client.get("/v1/models") for _ in range(16)))
        assert len(times) == 1

    run(project, scenario)


def test_a_key_that_asks_too_often_is_told_when_to_come_again(project):
    _, token = create_key(project, "website", ["predict"], requests_per_minute=1)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        assert (await client.post("/v1/predictions", json=BODY, headers=bearer(token))).status_code == 200
        refused = await client.post("/v1/predictions", json=BODY, headers=bearer(token))
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60

    run(project, scenario)


@pytest.mark.parametrize("path", ["/v1/models", "/nowhere", "/healthz"])
def test_every_answer_has_headers_that_browsers_heed(project, path):
    answer = ask(project, "GET", path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_requests_about_people_use_the_vault_that_the_server_has_open(project):
    """The master key may be out of reach by then: a KMS that is asked once a start, a file on a stick."""
    _, token = create_key(project, "officer", ["admin"])

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        client.headers.update(bearer(token))
        await predict(client, "card one", subject="ada")
        (project.kept / "master.key").unlink()
        for path, more, status in (
            ("consent", {}, 201),
            ("withdraw", {}, 201),
            ("restrict", {}, 201),
            ("export", {}, 200),
            ("erase", {"dry_run": True}, 200),
        ):
            answer = await client.post(f"/v1/subjects/{path}", json={"subject": "ada", **more})
            assert answer.status_code == status, (path, answer.text)
        (given,) = (await client.post("/v1/subjects/export", json={"subject": "ada"})).json()["predictions"]
        assert given["text"] == "card one"

    run(project, scenario)


def test_the_rights_of_people_over_http(project):
    _, admin = create_key(project, "officer", ["admin"])

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        async def say(route: str, status: int, **body: object) -> dict:
            answer = await client.post(f"/v1/subjects/{route}", json=body, headers=bearer(admin))
            assert answer.status_code == status, answer.text
            return answer.json()

        assert (await client.post("/v1/predictions", json=BODY, headers=bearer(admin))).status_code == 200
        assert (await say("consent", 201, subject="ada", channel="web"))["consent"]["purpose"] == "training"
        assert await say("withdraw", 201, subject="ada") == {"withdrawn": 1}
        assert await say("restrict", 201, subject="ada", kind="held") == {"changed": True}
        await say("restrict", 404, subject="ada", kind="hold")
        await say("consent", 422, subject="ada", legal_basis="whim")
        await client.post("/v1/feedback", json={"prediction": "x", "rating": 1}, headers=bearer(admin))
        gathered = await say("export", 200, subject="ada")
        assert [row["text"] for row in gathered["predictions"]] == ["card lost"]
        assert (await say("erase", 200, subject="ada", dry_run=True))["found"]["rows"]["predictions"] == 1
        assert "legal hold" in (await say("erase", 422, subject="ada"))["error"]["message"]
        await say("restrict", 201, subject="ada", kind="held", lift=True)
        receipt = (await say("erase", 200, subject="ada"))["receipt"]
        assert receipt["rows_deleted"]["predictions"] == 1
        await say("erase", 404, subject="nobody", dry_run=True)
        for text, name in (("pin", "bob"), ("pin lost", "cyd")):
            await client.post(
                "/v1/predictions", json={"inputs": [text], "subject": name}, headers=bearer(admin)
            )
        await client.post("/v1/feedback", json={"prediction": "x", "rating": 1}, headers=bearer(admin))
        several = {"subjects": ["bob", "nobody", "cyd"]}
        plans = (await say("erase", 200, **several, dry_run=True))["found"]
        assert [plans[name]["rows"]["predictions"] for name in several["subjects"]] == [1, 0, 1]
        told = await say("erase", 200, **several)
        assert [one["subject"] for one in told["erased"]] == ["bob", "cyd"]
        assert [one["receipt"]["rows_deleted"]["predictions"] for one in told["erased"]] == [1, 1]
        assert [one["subject"] for one in told["not_erased"]] == ["nobody"]
        await say("erase", 422, subject="bob", subjects=["cyd"])
        await say("erase", 422)
        await say("erase", 422, subjects=[])

    run(project, scenario)
    actions = [line.action for line in read_audit(project)]
    assert [action for action in actions if action in ("exported", "erased")] == [
        "exported",
        *["erased"] * 3,
    ]


def test_a_dry_run_over_http_shows_rows_outside_of_the_project_and_names_what_cannot_be_read(make_project):
    made = serving(make_project(csv_of(desk_rows(30)), name="../rows.csv", subject="who"))
    rows = [(*row, "ada") for row in desk_rows(30)]
    outside = csv_of(rows, ("text", "label", "who")) + "text, unquoted,card,ada\n"
    (made.folder / "../rows.csv").write_text(outside)

    def erase(person: str) -> httpx.Response:
        body = {"subject": person, "dry_run": True}
        return ask(made, "POST", "/v1/subjects/erase", json=body, headers=bearer(admin))

    _, admin = create_key(made, "officer", ["admin"])
    found = erase("ada")
    assert found.status_code == 200, found.text
    assert found.json()["found"]["files"]["../rows.csv"]["rows"] == 30
    nobody = erase("nobody")
    assert nobody.status_code == 404
    assert "../rows.csv has 1 rows that cannot be read" in nobody.text


def test_listening_beyond_this_machine_without_a_key_must_be_asked_for_in_so_many_words(project):
    open_wide = Project(project.folder, change_settings(project.settings, "serve", host="0.0.0.0", port=0))
    with pytest.raises(BadInput, match="there is no key: anybody could ask; make one with .*--without-keys"):
        serve(open_wide, ready=pytest.fail, load=lambda name: Tiny())


def test_a_server_without_its_master_key_says_so_and_does_not_start(project):
    open_keys(project).close()
    (project.kept / "master.key").unlink()
    free = Project(project.folder, change_settings(project.settings, "serve", port=0))
    with pytest.raises(NotFound, match="no master key at .*; put it back"):
        serve(free, ready=pytest.fail, load=lambda name: Tiny())


def test_where_keys_cannot_be_read_nobody_comes_in(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        assert (await client.get("/v1/models")).status_code == 200
        with project.database.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO lost")
        client._transport.app.door.guard._read_at = float("-inf")
        for _ in range(3):
            assert (await client.get("/v1/models")).status_code == 500

    run(project, scenario)


def certificate(folder: Path) -> Tls:
    """A certificate for this machine, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "millwright test")])
    hour = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(hour).not_valid_after(hour + datetime.timedelta(days=1))
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return Tls(folder / "cert.pem", folder / "key.pem")


def test_serves_https_with_a_certificate(project, tmp_path):
    tls = certificate(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom millwright.project import Project, open_project\n"
        "from millwright.settings import change_settings\nfrom millwright.surfaces.web import Tls, serve\n"
        "from tests.serve.tiny import Tiny\nopened = open_project(sys.argv[1])\n"
        "free = Project(opened.folder, change_settings(opened.settings, 'serve', port=0))\n"
        "serve(free, lambda url: print(url, flush=True), lambda name: Tiny(),\n"
        "      tls=Tls(Path(sys.argv[2]), Path(sys.argv[3])))"
    )
    command = [sys.executable, "-c", code, project.folder, tls.certificate, tls.key]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("https://127.0.0.1:")
            trusting = ssl.create_default_context(cafile=str(tls.certificate))
            assert httpx.get(f"{url}/healthz", verify=trusting).json() == {"status": "alive"}
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/healthz")
        finally:
            process.terminate()


def test_what_is_no_certificate_is_refused_before_the_server_starts(project, tmp_path):
    tls = certificate(tmp_path)
    with pytest.raises(BadInput, match="are no certificate and its key"):
        serve(project, ready=pytest.fail, load=lambda name: Tiny(), tls=Tls(tls.certificate, tls.certificate))
