"""Who is asking: the algorithm is ours to choose, never the token's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from typer.testing import CliRunner

from agentsight.chat.errors import Refusal
from agentsight.chat.revocations import Revocations
from agentsight.chat.settings import Settings
from agentsight.chat.tokens import KeySet, Verifier, issue
from agentsight.commands import app as cli
from agentsight.errors import ConfigError

from .conftest import SECRET, Backend, Start, httpx, running, wait_until
from .model_server import served
from .scripted import Scripted

HOUR = 3600
OTHER = "another-secret-of-at-least-32-bytes-in-length"


def settings(**changes: Any) -> Settings:
    return Settings(**({"data_dir": Path(), "database_url": "sqlite://", "secrets": (SECRET,)} | changes))


def user_of(token: str, given: Settings) -> str:
    return Verifier(given)._claims(token)[0]


def claims(**changes: Any) -> dict[str, Any]:
    full = {"sub": "ann", "exp": int(time.time()) + HOUR} | changes
    return {name: value for name, value in full.items() if value is not None}


def signed(secret: str | bytes = SECRET, algorithm: str = "HS256", header: Any = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm, headers=header)


def raw(header: Any, body: Any, secret: str = SECRET) -> str:
    """A token with whatever header and body, signed as well as HS256 can."""

    def part(value: Any) -> bytes:
        text = value if isinstance(value, (bytes, str)) else json.dumps(value)
        return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).rstrip(b"=")

    start = part(header) + b"." + part(body)
    return (start + b"." + part(hmac.digest(secret.encode(), start, hashlib.sha256))).decode()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
PEM = ED.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
HS = {"alg": "HS256", "typ": "JWT"}
now = int(time.time())
ATTACKS: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "not a token": lambda: "ann",
    "only dots": lambda: "..",
    "alg none": lambda: jwt.encode(claims(), None, algorithm="none"),
    "alg None in other letters": lambda: raw({"alg": "nOnE"}, claims()),
    "alg NONE": lambda: raw({"alg": "NONE"}, claims()),
    "alg none, signed with our secret": lambda: raw({"alg": "none"}, claims()),
    "alg hs256": lambda: raw({"alg": "hs256"}, claims()),
    "alg with a blank": lambda: raw({"alg": "HS256 "}, claims()),
    "alg is a list": lambda: raw({"alg": ["HS256"]}, claims()),
    "alg is null": lambda: raw({"alg": None}, claims()),
    "alg is a number": lambda: raw({"alg": 256}, claims()),
    "alg twice": lambda: raw('{"alg":"none","alg":"HS256"}', claims()),
    "HS384 with our secret": lambda: signed(SECRET, "HS384"),
    "RS256 by name, HMAC by our secret": lambda: raw({"alg": "RS256"}, claims()),
    "ES256 by name, HMAC by our secret": lambda: raw({"alg": "ES256"}, claims()),
    "EdDSA by name, HMAC by our secret": lambda: raw({"alg": "EdDSA"}, claims()),
    "our secret taken for a PEM": lambda: raw(HS, claims(), f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----"),
    "our secret with a line break": lambda: raw(HS, claims(), SECRET + "\n"),
    "the secret's beginning": lambda: raw(HS, claims(), SECRET[:-1]),
    "another token's signature": lambda: f"{signed().rpartition('.')[0]}.{signed(sub='bob').rpartition('.')[2]}",
    "another user under the signature": lambda: ".".join(
        [signed().split(".")[0], signed(OTHER, sub="root").split(".")[1], signed().split(".")[2]]
    ),
    "four parts": lambda: signed() + ".e30",
    "five parts, as if encrypted": lambda: "e30.e30.e30.e30.e30",
    "JSON serialisation": lambda: json.dumps(dict(zip(("protected", "payload", "signature"), signed().split("."), strict=True))),
    "no alg": lambda: raw({"typ": "JWT"}, claims()),
    "signature cut off": lambda: signed().rsplit(".", 1)[0] + ".",
    "another secret": lambda: signed(OTHER),
    "the empty secret": lambda: raw(HS, claims(), ""),
    "HS512 with our secret": lambda: signed(SECRET, "HS512"),
    "RS256 of one's own": lambda: jwt.encode(claims(), RSA, algorithm="RS256"),
    "EdDSA of one's own": lambda: jwt.encode(claims(), ED, algorithm="EdDSA"),
    "ES256 of one's own": lambda: jwt.encode(claims(), EC, algorithm="ES256"),
    "expired": lambda: signed(exp=now - 60),
    "expired before there were computers": lambda: signed(exp=-1),
    "exp is true": lambda: raw(HS, claims() | {"exp": True}),
    "exp is null": lambda: raw(HS, claims() | {"exp": None}),
    "exp is a list": lambda: raw(HS, claims() | {"exp": [now + HOUR]}),
    "exp is NaN": lambda: raw(HS, '{"sub":"ann","exp":NaN}'),
    "exp twice": lambda: raw(HS, f'{{"sub":"ann","exp":{now - 60},"exp":{now + HOUR}}}'),
    "sub twice": lambda: raw(HS, f'{{"sub":"bob","sub":"ann","exp":{now + HOUR}}}'),
    "nbf as text": lambda: signed(nbf="soon"),
    "iat as text": lambda: raw(HS, claims(iat="now")),
    "no exp": lambda: signed(exp=None),
    "exp as text": lambda: signed(exp="tomorrow"),
    "exp without end": lambda: raw(HS, f'{{"sub":"ann","exp":{"9" * 400}e999}}'),
    "not yet": lambda: signed(nbf=now + HOUR),
    "issued in the future": lambda: signed(iat=now + HOUR),
    "no sub": lambda: signed(sub=None),
    "sub is a number": lambda: raw(HS, claims(sub=7)),
    "sub is a list": lambda: raw(HS, claims(sub=["ann"])),
    "sub is an object": lambda: raw(HS, claims(sub={"name": "ann"})),
    "sub is true": lambda: raw(HS, claims(sub=True)),
    "sub with NUL": lambda: signed(sub="ann\0"),
    "sub is empty": lambda: signed(sub=""),
    "sub with a line break": lambda: signed(sub="ann\nbob"),
    "sub too long": lambda: signed(sub="a" * 256),
    "body is a list": lambda: raw(HS, ["ann"]),
    "body is not JSON": lambda: raw(HS, "{"),
    "header is a list": lambda: raw(["HS256"], claims()),
    "critical extension": lambda: raw({**HS, "crit": ["exp-x"], "exp-x": 1}, claims()),
    "unencoded payload": lambda: raw({**HS, "b64": False, "crit": ["b64"]}, claims()),
    "kid is a path": lambda: signed(OTHER, header={"kid": "../../../dev/null"}),
    "kid is SQL": lambda: signed(OTHER, header={"kid": "' OR 1=1 --"}),
    "kid is a list": lambda: raw({**HS, "kid": ["a"]}, claims(), OTHER),
    "a key in the header": lambda: signed(OTHER, header={"jwk": {"kty": "oct", "k": "eA"}}),
    "certificates in the header": lambda: signed(OTHER, header={"x5c": ["eA=="], "x5u": "http://127.0.0.1:9/x"}),
    "compressed": lambda: raw({**HS, "zip": "DEF", "enc": "A128GCM"}, b"x\x9c\x03\0"),
    "jku elsewhere": lambda: signed(OTHER, header={"jku": "http://127.0.0.1:9/keys"}),
    "a megabyte": lambda: signed(padding="x" * 1_000_000),
    "just over 8 KB": lambda: signed(padding="x" * 6200),
    "deep": lambda: raw(HS, "[" * 100_000),
    "not ASCII": lambda: "é.é.é",
    "two tokens": lambda: f"{signed(OTHER)},{signed(OTHER)}",
}  # fmt: skip


def test_there_are_sixty_of_them() -> None:
    assert len(ATTACKS) >= 60


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_token_is_nobody(attack: str) -> None:
    with pytest.raises(Refusal) as refused:
        user_of(ATTACKS[attack](), settings())
    assert refused.value.status == 401 and refused.value.headers == {"WWW-Authenticate": "Bearer"}


def test_a_true_token_is_somebody_and_the_oldest_secret_is_as_good_as_the_newest() -> None:
    assert user_of(signed(), settings()) == "ann"
    assert user_of(issue("ann", settings()), settings()) == "ann"
    assert user_of(signed(), settings(secrets=(OTHER, SECRET))) == "ann"
    assert user_of(issue("ann", settings(secrets=(OTHER, SECRET))), settings(secrets=(OTHER,))) == "ann"
    with pytest.raises(Refusal):
        user_of(signed(), settings(secrets=(OTHER,)))


def test_clocks_may_differ_by_half_a_minute() -> None:
    assert user_of(signed(exp=int(time.time()) - 20), settings()) == "ann"
    with pytest.raises(Refusal):
        user_of(signed(exp=int(time.time()) - 31), settings())


def test_issuer_and_audience_are_checked_when_they_are_configured() -> None:
    strict = settings(issuer="https://app", audience="chat")
    assert user_of(issue("ann", strict), strict) == "ann"
    for changes in ({}, {"iss": "https://app"}, {"iss": "https://app", "aud": "mail"}, {"iss": "x", "aud": "chat"}):
        with pytest.raises(Refusal):
            user_of(signed(**changes), strict)


def test_the_user_may_be_named_by_another_claim() -> None:
    nested = settings(claim="user.id")
    assert user_of(signed(sub=None, user={"id": "u1"}), nested) == "u1"
    assert user_of(issue("u2", nested), nested) == "u2"
    for user in ({}, {"id": 5}, "u1", None):
        with pytest.raises(Refusal):
            user_of(signed(sub="ann", user=user), nested)


def test_settings_that_are_not_safe_do_not_start(tmp_path: Path) -> None:
    for environment, named in [
        ({"AGENTSIGHT_CHAT_SECRET": "short"}, "AGENTSIGHT_CHAT_SECRET"),
        ({"BETTER_AUTH_SECRET": f"{SECRET},short"}, "AGENTSIGHT_CHAT_SECRET"),
        ({"AGENTSIGHT_CHAT_JWKS_URL": "https://app/jwks"}, "AGENTSIGHT_CHAT_ISSUER"),
        ({"AGENTSIGHT_CHAT_SECRET": SECRET, "AGENTSIGHT_CHAT_PROVIDER": "os"}, "AGENTSIGHT_CHAT_PROVIDER"),
    ]:
        with pytest.raises(ConfigError, match=named):
            Settings.from_env(tmp_path, environment)


def test_a_secret_that_is_made_is_kept_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    first, again = Settings.from_env(tmp_path / "new", {}), Settings.from_env(tmp_path / "new", {})
    assert first.secrets == again.secrets and first.secret_was_made and len(first.secrets[0]) >= 43
    (kept,) = (tmp_path / "new").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600 and first.secrets[0] not in repr(first)


# -- published keys --------------------------------------------------------------------------------------------------
class Issuer:
    """Publishes keys, as Better Auth does."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"ed-1": ED, "ec-1": EC, "rsa-1": RSA}
        self.reads = 0
        self.broken = False
        self.app = Starlette(routes=[Route("/jwks", self.publish)])

    def publish(self, request: Any) -> JSONResponse:
        self.reads += 1
        return JSONResponse({"keys": "?" if self.broken else [jwk(name, key) for name, key in self.keys.items()]})

    def token(self, kid: str, key: Any = None, **changes: Any) -> str:
        algorithm = {"ed": "EdDSA", "ec": "ES256", "rs": "RS256"}[kid[:2]]
        body = claims(iss="https://app", aud="https://app", **changes)
        return jwt.encode(body, key or self.keys[kid], algorithm=algorithm, headers={"kid": kid})


def jwk(name: str, key: Any) -> dict[str, Any]:
    kinds = {"ed": jwt.algorithms.OKPAlgorithm, "ec": jwt.algorithms.ECAlgorithm, "rs": jwt.algorithms.RSAAlgorithm}
    algorithm = {"ed": "EdDSA", "ec": "ES256", "rs": "RS256"}[name[:2]]
    return json.loads(kinds[name[:2]].to_jwk(key.public_key())) | {"kid": name, "alg": algorithm, "use": "sig"}


@pytest.fixture
def issuer() -> Iterator[tuple[Issuer, Settings]]:
    published = Issuer()
    with served(published.app) as address:
        yield (
            published,
            settings(secrets=(), jwks_url=f"{address}/jwks", issuer="https://app", audience="https://app"),
        )


def test_published_keys_of_three_families_are_known(issuer: Any) -> None:
    published, given = issuer
    verifier = Verifier(given)
    for kid in ("ed-1", "ec-1", "rsa-1"):
        assert verifier._claims(published.token(kid))[0] == "ann"
    assert published.reads == 1


def test_a_published_key_signs_for_itself_only(issuer: Any) -> None:
    published, given = issuer
    verifier = Verifier(given)
    stolen = ed25519.Ed25519PrivateKey.generate()
    public = raw({"alg": "HS256", "kid": "ed-1"}, claims(iss="https://app", aud="https://app"), PEM.decode())
    forged = [
        published.token("ed-1", stolen),
        public,  # the public key taken for a shared secret
        raw({"alg": "none", "kid": "ed-1"}, claims(iss="https://app", aud="https://app")),
        jwt.encode(claims(iss="https://app", aud="https://app"), RSA, algorithm="RS256", headers={"kid": "ed-1"}),
        published.token("ed-1", exp=int(time.time()) - 60),
        jwt.encode(claims(aud="https://app"), ED, algorithm="EdDSA", headers={"kid": "ed-1"}),
        jwt.encode(claims(iss="https://app", aud="other"), ED, algorithm="EdDSA", headers={"kid": "ed-1"}),
        jwt.encode(claims(iss="https://app", aud="https://app"), ED, algorithm="EdDSA"),
        signed(),
    ]
    for token in forged:
        with pytest.raises(Refusal):
            verifier._claims(token)


def test_new_keys_are_found_and_old_ones_stay_good_while_the_issuer_is_away(
    issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, given = issuer
    verifier = Verifier(given)
    assert verifier._claims(published.token("ed-1"))[0] == "ann"
    published.keys["ed-2"] = ed25519.Ed25519PrivateKey.generate()
    for _ in range(3):  # an unknown key asks again, but not at once: it would let anybody make us ask
        with pytest.raises(Refusal):
            verifier._claims(published.token("ed-2"))
    assert published.reads == 1
    monkeypatch.setattr("agentsight.chat.tokens.REFETCH_S", 0)
    assert verifier._claims(published.token("ed-2"))[0] == "ann"
    published.broken = True
    with pytest.raises(Refusal):
        verifier._claims(published.token("ed-3", ED))
    assert verifier._claims(published.token("ed-1"))[0] == "ann"


def test_with_a_secret_and_keys_a_token_that_names_a_key_goes_to_the_keys(issuer: Any) -> None:
    published, given = issuer
    both = settings(jwks_url=given.jwks_url, issuer="https://app", audience="https://app")
    assert user_of(issue("bob", both), both) == "bob" and user_of(published.token("ec-1"), both) == "ann"
    with pytest.raises(Refusal):
        user_of(signed(header={"kid": "ed-1"}, iss="https://app", aud="https://app"), both)


def test_keys_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk("ed-1", ED), {"kty": "oct", "k": "AAAA", "kid": "s", "alg": "HS256"}]}))
    keys = KeySet(str(path))
    assert keys.key("ed-1").key_id == "ed-1"
    with pytest.raises(jwt.PyJWTError):
        keys.key("s")


# -- revoked ------------------------------------------------------------------------------------------------------------
def test_a_revoked_token_opens_nothing_and_the_next_one_does(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann, again, bob = backend.person("ann"), backend.person("ann"), backend.person("bob")
        again.token = signed(iat=int(time.time()) - 5, jti="another")
        again.http.headers["Authorization"] = f"Bearer {again.token}"
        assert ann.say("hello").status_code == again.say("hello").status_code == 200
        revoked = Revocations(backend.app.state.chat.db)
        revoked.revoke_token(again.token, int(time.time()) + HOUR)
        wait_until(lambda: again.say("hello").status_code == 401, within_s=5)
        assert again.http.post("/mcp", json={}).status_code == 401 and ann.say("hello").status_code == 200
        revoked.revoke_user("ann")
        wait_until(lambda: ann.say("hello").status_code == 401, within_s=5)
        assert bob.say("hello").status_code == 200
        time.sleep(1.1)  # a token says the second it was made in
        assert backend.person("ann").say("hello").status_code == 200


def test_the_operator_revokes_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTSIGHT_CHAT_SECRET", SECRET)
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["chat", *arguments, "--data", str(tmp_path)])

    token = run("token", "ann").stdout.strip()
    assert run("revoke", "--token", token).exit_code == run("revoke", "--user", "bob").exit_code == 0
    assert run("revoke").exit_code == 2 and run("revoke", "--user", "a", "--token", "b").exit_code == 2
    assert run("revoke", "--token", "nonsense").exit_code != 0
    with running(tmp_path, responder=Scripted()) as backend:
        ann = backend.person("ann")
        ann.http.headers["Authorization"] = f"Bearer {token}"
        assert ann.say("hello").status_code == 401


# -- at the door -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running(tmp_path_factory.mktemp("tokens"), responder=Scripted()) as started:
        yield started


DOORS = [
    ("POST", "/api/ann/chat"), ("POST", "/api/ann/chat/stream"), ("GET", "/api/ann/chat/conversations"),
    ("GET", "/chat/"), ("POST", "/chat"), ("POST", "/chat/"), ("POST", "/chat/session"), ("POST", "/mcp"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_every_door_is_shut_to_forgers(backend: Backend, method: str, path: str) -> None:
    sendable = [make for name, make in ATTACKS.items() if name != "not ASCII"]
    headers = [{"Authorization": f"Bearer {make()}".strip()} for make in sendable]
    headers += [
        {},
        {"Authorization": signed()},
        {"Authorization": f"Basic {signed()}"},
        {"Cookie": "chat=x", "Origin": backend.address},
    ]
    with httpx.Client(base_url=backend.address) as http:
        for header in headers:
            if len(str(header)) < 60_000:
                answer = http.request(method, path, headers=header, json={"message": "hi"})
                assert answer.status_code == 401, header
                assert "bearer" in answer.headers["www-authenticate"].lower()


def test_nobody_may_use_another_users_path(backend: Backend) -> None:
    ann = backend.person("ann")
    for path in ("/api/bob/chat/conversations", "/api/ANN/chat/conversations", "/api/ann%20/chat/conversations"):
        answer = ann.http.get(path)
        assert answer.status_code == 403 and answer.json()["code"] == "forbidden"
    assert ann.http.post("/api/bob/chat", json={"message": "hi"}).status_code == 403


def test_two_authorization_headers_are_one_too_many(backend: Backend) -> None:
    token = issue("ann", backend.settings)
    pairs = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert httpx.get(f"{backend.address}/chat/session", headers=pairs).status_code == 401


def test_a_browser_asks_who_it_is_without_being_told_off(backend: Backend) -> None:
    address = f"{backend.address}/chat/session"
    for cookies in ({}, {"chat": "x"}, {"chat": ATTACKS["expired"]()}):
        answer = httpx.get(address, cookies=cookies)
        assert answer.status_code == 200 and answer.json() == {"user_id": None}
    assert httpx.get(address, headers={"Authorization": "Bearer x"}).status_code == 401
