"""Keyrings: in files, in the environment; turned, retired; refused where they are not private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from refold.errors import Corrupt, NotFound, UsageError
from refold.privacy import load_keyring, new_keyring, save_keyring
from refold.privacy.keyring import (
    KEYRING_VARIABLE,
    KeysAtHand,
    Wrapped,
    keyring_of_environment,
    parse_keyring,
    replace_keyring,
)


@pytest.mark.parametrize("passphrase", ["", "päss wörd"])
def test_a_keyring_comes_back_from_its_file(tmp_path: Path, passphrase: str) -> None:
    """The same keys; its owner alone may read it, and it is not written over by chance."""
    keyring, path = new_keyring().rotated(), tmp_path / "a.keyring"
    save_keyring(keyring, path, passphrase=passphrase)
    assert load_keyring(path, passphrase=passphrase).keys == keyring.keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (keyring.text.encode() in path.read_bytes()) != bool(passphrase)
    with pytest.raises(UsageError):
        save_keyring(new_keyring(), path)
    turned = keyring.rotated()
    replace_keyring(turned, path, passphrase=passphrase)
    assert load_keyring(path, passphrase=passphrase).keys == turned.keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["a.keyring"]


def test_another_passphrase_opens_nothing(tmp_path: Path) -> None:
    """Nor does none; what is no keyring is told from one of another passphrase, and which file."""
    path = tmp_path / "a.keyring"
    save_keyring(new_keyring(), path, passphrase="right")
    for wrong in ("wrong", ""):
        with pytest.raises(UsageError) as raised:
            load_keyring(path, passphrase=wrong)
        assert raised.value.code == "wrong_passphrase"
    for odd in ("", "{}", "refold-keyring/1", "refold-keyring/1\na b", "refold-keyring/1\na YQ=="):
        path.write_text(odd)
        with pytest.raises(UsageError) as raised:
            load_keyring(path)
        assert raised.value.code != "wrong_passphrase"
        assert raised.value.facts["path"] == str(path)


def test_a_keyring_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """And one that is not there is told as what it is: all that it would open is lost."""
    path = tmp_path / "a.keyring"
    save_keyring(new_keyring(), path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(UsageError) as raised:
            load_keyring(path)
        assert raised.value.code == "key_not_private"
        assert "chmod 600" in raised.value.message
    with pytest.raises(NotFound) as missing:
        load_keyring(tmp_path / "no.keyring")
    assert "lost" in missing.value.message


def test_the_environment_can_hold_a_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text, as a secret store gives it."""
    monkeypatch.delenv(KEYRING_VARIABLE, raising=False)
    assert keyring_of_environment() is None
    keyring = new_keyring()
    monkeypatch.setenv(KEYRING_VARIABLE, f"{keyring.text}\n")
    found = keyring_of_environment()
    assert found is not None
    assert found.keys == keyring.keys


def test_a_turned_keyring_opens_what_was_wrapped_before() -> None:
    """Until its key is retired; nothing else does."""
    old = new_keyring()
    wrapped = old.wrap(b"key", b"about")
    turned = old.rotated()
    assert turned.newest != old.newest
    assert turned.unwrap(wrapped, b"about") == b"key"
    assert turned.wrap(b"key", b"about").tenant_key == turned.newest
    retired = parse_keyring(turned.without([old.newest]).text)
    for keyring, why in [(retired, "retired"), (new_keyring(), "not in")]:
        with pytest.raises(NotFound) as raised:
            keyring.unwrap(wrapped, b"about")
        assert why in raised.value.message
    with pytest.raises(Corrupt):
        turned.unwrap(wrapped, b"else")
    with pytest.raises(Corrupt):
        turned.unwrap(Wrapped(wrapped.tenant_key, b""), b"about")
    with pytest.raises(UsageError):
        old.without([old.newest])


def test_a_secret_is_not_told_by_chance() -> None:
    """Neither in a traceback nor in a log."""
    keyring = new_keyring()
    assert isinstance(keyring, KeysAtHand)
    assert keyring.keys[0].secret.hex() not in repr(keyring.keys)
    assert repr(keyring.keys[0].secret) not in repr(keyring.keys)


def test_what_is_no_keyring_is_not_repeated() -> None:
    """It may be the secret of one without its first line."""
    first, line = new_keyring().text.splitlines()
    for text in (line, line.split()[1], f"{first}\n{line.split()[1]}"):
        with pytest.raises(UsageError) as raised:
            parse_keyring(text)
        assert line.split()[1][:12] not in str(raised.value)
