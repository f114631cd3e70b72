"""Tenant keys turned and retired; a service that keeps them; what settings say."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from refold.conversation import UserUtterance
from refold.errors import Corrupt, NotFound, RefoldError, Unavailable, UsageError
from refold.privacy import load_keyring, new_keyring, save_keyring
from refold.privacy.envelope import WITHHELD
from refold.privacy.keyring import KEYRING_VARIABLE, PASSPHRASE, KeysAtHand, Wrapped
from refold.privacy.locked import cipher_of
from refold.privacy.rotation import KeyringPlace, rotate, wrapped_by
from refold.privacy.settings import keyring_place, privacy_of
from refold.privacy.vault import VaultTransit
from tests.privacy.protecting import behind, opened
from tests.privacy.test_protected import SAID, told
from tests.support import postgres

TOKEN = "hvs.example"


@pytest.fixture
def place(tmp_path: Path) -> KeyringPlace:
    """A keyring in a file, under a passphrase."""
    path = tmp_path / "a.keyring"
    save_keyring(new_keyring(), path, passphrase="right")
    return KeyringPlace(str(path), "right")


def test_turning_the_key_changes_nothing_that_is_read(place: KeyringPlace, tmp_path: Path) -> None:
    """All living data keys are wrapped anew; pseudonyms and digests stay; old keys may stay too."""
    with opened(tmp_path / "log.db", keyring=place.load()) as store:
        for name in ("call-1", "call-2"):
            store.append(name, [UserUtterance(text=SAID)], key=name)
        behind(store).keys.destroy("call-2")
        before = place.load().newest
        pseudonym = behind(store).keys.pseudonym("ada")
        turned = rotate(store, place)
        assert (turned.wrapped, turned.lost, turned.retired) == (2, 0, ())
        assert set(wrapped_by(store)) == {turned.newest} != {before}
        assert place.load().unwrap(place.load().wrap(b"x" * 32, b""), b"") == b"x" * 32
    with opened(tmp_path / "log.db", keyring=place.load()) as store:
        assert told(store, "call-1") == [{"text": SAID}]
        assert store.append("call-1", [UserUtterance(text=SAID)], key="call-1").duplicate
        assert behind(store).keys.pseudonym("ada") == pseudonym


def test_a_retired_key_opens_no_backup(place: KeyringPlace, tmp_path: Path) -> None:
    """What is living is read on; a backup from before is closed for good, erased or not."""
    old = place.load()
    with opened(tmp_path / "log.db", keyring=old) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        store.backup(tmp_path / "backup.db")
        behind(store).keys.destroy("call-1")
        store.append("call-2", [UserUtterance(text=SAID)])
        turned = rotate(store, place, retire=True)
        assert turned.retired == [old.newest]
        with pytest.raises(NotFound) as raised:
            place.load().unwrap(Wrapped(old.newest, b""), b"")
        assert "retired" in raised.value.message
    with opened(tmp_path / "log.db", keyring=place.load()) as store:
        assert told(store, "call-2") == [{"text": SAID}]
    with opened(tmp_path / "backup.db", keyring=place.load()) as store:
        assert told(store, "call-1") == [{"text": WITHHELD}]


def test_nothing_is_retired_while_a_data_key_hangs_on_it(tmp_path: Path) -> None:
    """A keyring that has not all keys of the store turns what it has, and destroys none."""
    with opened(tmp_path / "log.db", keyring=new_keyring()) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        other = tmp_path / "other.keyring"
        save_keyring(new_keyring(), other)
        with pytest.raises(UsageError):
            rotate(store, KeyringPlace(str(other)), retire=True)
        assert all(key.secret for key in load_keyring(other).keys)
        assert rotate(store, KeyringPlace(str(other))).lost == 2


def test_what_two_turn_at_once_is_lost_by_neither(tmp_path: Path) -> None:
    """A tenant key that another put into the keyring stays there: data keys hang on it."""
    path = tmp_path / "shared.keyring"
    save_keyring(new_keyring(), path)
    place, old = KeyringPlace(str(path)), load_keyring(path)
    turning = [threading.Thread(target=place.turned) for _ in range(4)]
    for thread in turning:
        thread.start()
    for thread in turning:
        thread.join()
    assert len(load_keyring(path).keys) == 5
    with (
        opened(tmp_path / "a.db", keyring=old) as one,
        opened(tmp_path / "b.db", keyring=old) as other,
    ):
        for store in (one, other):
            store.append("call-1", [UserUtterance(text=SAID)])
        keyring, before = place.turned()
        theirs = rotate(other, place)
        place.retire(before)
        assert load_keyring(path).newest == theirs.newest != keyring.newest
        assert [bool(key.secret) for key in load_keyring(path).keys] == [False] * 5 + [True] * 2


def test_a_keyring_that_was_cut_off_while_it_was_written_leaves_no_key(tmp_path: Path) -> None:
    """The file beside it, with keys that are to be retired, goes the next time."""
    path = tmp_path / "a.keyring"
    save_keyring(new_keyring(), path)
    (tmp_path / ".a.keyring.new").write_text(load_keyring(path).text)
    _, before = KeyringPlace(str(path)).turned()
    KeyringPlace(str(path)).retire(before)
    assert [one.name for one in tmp_path.iterdir()] == ["a.keyring"]


def test_what_was_retired_before_is_not_told_again(place: KeyringPlace, tmp_path: Path) -> None:
    """A turn says which keys it destroyed, and no others."""
    with opened(tmp_path / "log.db", keyring=place.load()) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        first = rotate(store, place, retire=True)
        assert rotate(store, place, retire=True).retired == [first.newest]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_data_key_is_made_under_a_tenant_key_that_was_turned(
    kind: str, place: KeyringPlace, tmp_path: Path
) -> None:
    """A program that has the old keyring is refused a new subject: its values would be lost."""
    url = str(tmp_path / "log.db") if kind == "sqlite" else postgres.schema_of_its_own()
    with opened(url, keyring=place.load()) as running:
        running.append("call-1", [UserUtterance(text=SAID)])
        with opened(url, keyring=place.load()) as store:
            turned = rotate(store, place, retire=True)
        with pytest.raises(NotFound, match=turned.newest) as raised:
            running.append("call-2", [UserUtterance(text=SAID)])
        assert raised.value.code == "no_tenant_key"
        running.append("call-1", [UserUtterance(text=SAID)])
    with opened(url, keyring=place.load()) as store:
        assert told(store, "call-1") == [{"text": SAID}] * 2
        assert set(wrapped_by(store)) == {turned.newest}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_data_key_that_is_made_while_the_key_is_turned_is_turned_too(
    kind: str, place: KeyringPlace, tmp_path: Path
) -> None:
    """Or refused: none is left under the old one, whenever it comes."""
    url = str(tmp_path / "log.db") if kind == "sqlite" else postgres.schema_of_its_own()
    old, made = place.load(), list[bool]()

    class Turning(KeysAtHand):
        """Wraps; another program makes data keys whenever it has."""

        def wrap(self, key: bytes, about: bytes) -> Wrapped:
            with suppress(NotFound):
                running.append(f"call-{len(made)}", [UserUtterance(text=SAID)])
            made.append(True)
            return super().wrap(key, about)

    class Turned(KeyringPlace):
        """Gives such a keyring."""

        def turned(self) -> tuple[KeysAtHand | VaultTransit, Sequence[str]]:
            keyring, before = super().turned()
            assert isinstance(keyring, KeysAtHand)
            return Turning(keyring.keys), before

    with opened(url, keyring=old) as running, opened(url, keyring=old) as store:
        running.append("call", [UserUtterance(text=SAID)])
        turned = rotate(store, Turned(*place), retire=True)
        assert len(made) > 2
        assert set(wrapped_by(store)) == {turned.newest}


def test_the_environment_is_not_turned_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It can be read; where it is kept, only who set it knows."""
    keyring = new_keyring()
    monkeypatch.setenv(KEYRING_VARIABLE, keyring.text)
    place = keyring_place({})
    assert place is not None
    assert place.load().newest == keyring.newest
    with opened(tmp_path / "log.db", keyring=keyring) as store, pytest.raises(UsageError):
        rotate(store, place)


def test_settings_say_how_stores_are_opened(
    monkeypatch: pytest.MonkeyPatch, place: KeyringPlace
) -> None:
    """The environment stands before the table; where neither speaks, nothing is protected."""
    for name in ("REFOLD_KEYRING", "REFOLD_ACTOR", "REFOLD_PURPOSE", KEYRING_VARIABLE, PASSPHRASE):
        monkeypatch.delenv(name, raising=False)
    assert privacy_of({}) is None
    assert privacy_of({"actor": "ann"}) is None
    said = {"keyring": place.text, "conversation": True, "actor": "ann", "fields": {"a.b": ["/c"]}}
    with pytest.raises(UsageError):
        privacy_of(said)
    monkeypatch.setenv(PASSPHRASE, "right")
    monkeypatch.setenv("REFOLD_ACTOR", "bob")
    found = privacy_of(said)
    assert found is not None
    assert found.keyring is not None
    assert (found.reading.actor, found.keyring.newest) == ("bob", place.load().newest)
    assert found.fields.of("user.utterance") and found.fields.of("a.b.v2")
    odd: dict[str, Any]
    for odd in ({"keyring": 1}, {"conversation": "yes"}, {"fields": ["/c"]}, {"purpose": []}):
        with pytest.raises(UsageError):
            privacy_of(odd)


def test_own_fields_of_a_type_add_to_those_of_a_conversation() -> None:
    """What is said of a note takes no protection from what was said; an empty list takes all."""
    said = {"conversation": True, "fields": {"user.utterance": ["/note"], "tool.call": []}}
    found = privacy_of(said)
    assert found is not None
    own = found.fields.of("user.utterance")
    assert own is not None
    assert own.are_at(("text",)) and own.are_at(("note",))
    assert found.fields.of("tool.call") is None


class Transit(BaseHTTPRequestHandler):
    """As much of Vault's transit engine as is used: versions of one key, and their least one."""

    versions: dict[int, bytes] = {}
    least = 1
    fails = 0

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Which version is the newest."""
        self._answered({"latest_version": max(type(self).versions), "name": "agents"})

    def do_POST(self) -> None:
        """Encrypts, decrypts, rotates, and forgets."""
        cls, body = type(self), self.rfile.read(int(self.headers["Content-Length"]))
        said, action = json.loads(body), self.path.removeprefix("/v1/transit/")
        if cls.fails:
            cls.fails -= 1
            return self._answered({}, status=503)
        if action == "encrypt/agents":
            newest = max(cls.versions)
            about = base64.b64decode(said["associated_data"])
            plain = base64.b64decode(said["plaintext"])
            sealed = cipher_of(cls.versions[newest]).encrypt(bytes(12), plain, about)
            return self._answered(
                {"ciphertext": f"vault:v{newest}:{base64.b64encode(sealed).decode()}"}
            )
        if action == "decrypt/agents":
            return self._decrypted(said)
        if action == "keys/agents/rotate":
            newest = max(cls.versions) + 1
            cls.versions[newest] = hmac.digest(b"key", bytes([newest]), "sha256")
        elif action == "keys/agents/config":
            cls.least = said["min_decryption_version"]
        elif action == "keys/agents/trim":
            for version in [*cls.versions]:
                if version < said["min_available_version"]:
                    del cls.versions[version]
        return self._answered({})

    def _decrypted(self, said: Any) -> None:
        cls = type(self)
        from cryptography.exceptions import InvalidTag

        _, version, sealed = said["ciphertext"].split(":")
        if int(version[1:]) < cls.least:
            why = "ciphertext or signature version is disallowed by policy (too old)"
            return self._answered(errors=["version is too old", why], status=400)
        about = base64.b64decode(said["associated_data"])
        try:
            key = cipher_of(cls.versions[int(version[1:])])
            plain = key.decrypt(bytes(12), base64.b64decode(sealed), about)
        except (InvalidTag, KeyError, ValueError):
            return self._answered(errors=["cipher: message authentication failed"], status=400)
        return self._answered({"plaintext": base64.b64encode(plain).decode()})

    def _answered(
        self, data: Any = None, *, errors: list[str] | None = None, status: int = 200
    ) -> None:
        if self.headers.get("X-Vault-Token") != TOKEN:
            status, errors = 403, ["permission denied"]
        content = json.dumps({"errors": errors} if errors else {"data": data}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def vault() -> Iterator[tuple[type[Transit], str]]:
    """A server that speaks it, and the address of its engine."""

    class Own(Transit):
        versions = {1: b"k" * 32}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Own, f"http://127.0.0.1:{server.server_port}/v1/transit"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_service_can_keep_the_tenant_key(
    vault: tuple[type[Transit], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wraps and unwraps, is turned and retired there, and never gives its key away."""
    engine, url = vault
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    place = KeyringPlace(f"vault+{url}/agents")
    with opened(tmp_path / "log.db", keyring=place.load()) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        assert set(wrapped_by(store)) == {"agents:v1"}
        store.backup(tmp_path / "backup.db")
        turned = rotate(store, place, retire=True)
        assert (turned.newest, turned.wrapped, turned.retired) == ("agents:v2", 2, ["agents:v1"])
        assert set(engine.versions) == {2}
    with opened(tmp_path / "log.db", keyring=place.load()) as store:
        assert told(store, "call-1") == [{"text": SAID}]
    with opened(tmp_path / "backup.db", keyring=place.load()) as store:
        assert told(store, "call-1") == [{"text": WITHHELD}]


def test_a_service_that_fails_says_so(vault: tuple[type[Transit], str]) -> None:
    """Away, without permission, another key, or something that it did not wrap."""
    engine, url = vault
    keyring = VaultTransit(url, "agents", TOKEN)
    wrapped = keyring.wrap(b"x" * 32, b"about")
    assert keyring.unwrap(wrapped, b"about") == b"x" * 32
    for about, changed in [
        (b"else", wrapped),
        (b"about", wrapped._replace(wrapped=b"vault:v1:AAAA")),
    ]:
        with pytest.raises(Corrupt):
            keyring.unwrap(changed, about)
    with pytest.raises(NotFound):
        keyring.unwrap(wrapped._replace(tenant_key="other:v1"), b"about")
    with pytest.raises(UsageError) as refused:
        VaultTransit(url, "agents", "wrong").wrap(b"x", b"")
    assert refused.value.code == "no_permission"
    assert "wrong" not in refused.value.message
    engine.fails = 1
    with pytest.raises(Unavailable):
        keyring.wrap(b"x", b"")
    with pytest.raises(Unavailable):
        VaultTransit("http://127.0.0.1:9/v1/transit", "agents", TOKEN).wrap(b"x", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b"7", b"null", b'"text"', b"<html>", b"", b"{}", b'{"data": 7}', b'{"data": []}',
        b'{"data": {"ciphertext": 7, "plaintext": null, "latest_version": "1"}}',
        b'{"data": {"ciphertext": "odd", "plaintext": "%", "latest_version": 1.5}}',
    ],
)  # fmt: skip
def test_an_answer_that_is_odd_is_told_as_that(
    content: bytes, vault: tuple[type[Transit], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands at the address: an error of ours, and not one of Python's."""
    engine, url = vault
    keyring = VaultTransit(url, "agents", TOKEN)
    wrapped = keyring.wrap(b"x" * 32, b"about")

    def answered(handler: Transit, *_: Any, **__: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    monkeypatch.setattr(engine, "_answered", answered)
    for ask in (
        lambda: keyring.wrap(b"x", b""),
        lambda: keyring.unwrap(wrapped, b"about"),
        lambda: keyring.newest,
    ):
        with pytest.raises(Unavailable, match="odd"):
            ask()
    monkeypatch.setattr(engine, "_answered", lambda handler, *_, **__: handler.send_error(404))
    with pytest.raises(UsageError, match="there is no such key"):
        keyring.wrap(b"x", b"")


def test_a_service_on_this_machine_is_asked_past_any_proxy(
    vault: tuple[type[Transit], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token and data keys would go to it in clear."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert VaultTransit(vault[1], "agents", TOKEN).newest == "agents:v1"
    there = VaultTransit("http://vault.invalid/v1/transit", "agents", TOKEN)
    with pytest.raises(Unavailable, match="refused"):
        assert there.newest


def test_a_password_is_never_shown(
    vault: tuple[type[Transit], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of an address, in errors and facts, nor the passphrase of a keyring."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    assert "hidden" not in repr(KeyringPlace("agents.keyring", "hidden"))
    _, url = vault
    address = url.replace("http://", "http://ann:hidden@")
    place = KeyringPlace(f"vault+{address}/agents")
    assert "hidden" not in repr(place) + repr(place.load())
    gone = KeyringPlace("vault+http://ann:hidden@127.0.0.1:9/v1/transit/agents").load()
    odd = KeyringPlace(f"vault+{address}/other").load()
    for ask in (
        lambda: gone.wrap(b"x" * 32, b""),
        lambda: odd.unwrap(Wrapped("other:v1", b"vault:v1:AAAA"), b""),
        lambda: VaultTransit(address, "agents", "wrong").wrap(b"x", b""),
        lambda: KeyringPlace("vault+http://ann:hidden@example.com/v1/transit/agents").load(),
    ):
        with pytest.raises(RefoldError) as raised:
            ask()
        assert "hidden" not in f"{raised.value} {raised.value.facts}"


@pytest.mark.parametrize("text", ["vault+https://host", "vault+http:///v1/x", "vault+https://h/x"])
def test_what_names_no_key_of_a_service_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host, engine and key; and a token."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with pytest.raises(UsageError):
        KeyringPlace(text).load()
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(UsageError):
        KeyringPlace("vault+https://h/v1/transit/agents").load()


@pytest.mark.parametrize("host", ["vault.example.com", "10.0.0.7:8200", "localhost.example.com"])
def test_a_token_never_goes_in_clear_to_another_machine(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS a service is asked on this machine alone; nothing is sent before that is said."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with pytest.raises(UsageError, match="in clear") as raised:
        KeyringPlace(f"vault+http://{host}/v1/transit/agents").load()
    assert raised.value.code == "not_secret"
    for here in ("localhost", "127.0.0.1:8200", "[::1]:8200"):
        KeyringPlace(f"vault+http://{here}/v1/transit/agents").load()
    KeyringPlace(f"vault+https://{host}/v1/transit/agents").load()
