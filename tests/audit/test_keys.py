"""Signing keys in files and in the environment."""

import json
import stat
from pathlib import Path

import pytest

from refold.audit import load_key, new_key, save_key
from refold.audit.keys import KEY_VARIABLE, is_locked, key_of_environment
from refold.errors import NotFound, UsageError


@pytest.mark.parametrize("passphrase", ["", "päss wörd"])
def test_a_key_comes_back_from_its_file(tmp_path: Path, passphrase: str) -> None:
    """The same key; its owner alone may read the file, and it is not written over."""
    key, path = new_key("example.com/agents"), tmp_path / "a.key"
    save_key(key, path, passphrase=passphrase)
    assert load_key(path, passphrase=passphrase) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_locked(path) == bool(passphrase)
    assert (str(key).encode() in path.read_bytes()) != bool(passphrase)
    with pytest.raises(UsageError):
        save_key(new_key("example.com/agents"), path)
    assert load_key(path, passphrase=passphrase) == key


def test_another_passphrase_opens_nothing(tmp_path: Path) -> None:
    """Nor does none; and a file that was changed is none of a key."""
    path = tmp_path / "a.key"
    save_key(new_key("example.com/agents"), path, passphrase="right")
    for wrong in ("wrong", ""):
        with pytest.raises(UsageError) as raised:
            load_key(path, passphrase=wrong)
        assert raised.value.code == "wrong_passphrase"
    path.write_text("{}")
    with pytest.raises(UsageError):
        load_key(path)


@pytest.mark.parametrize("change", [{"format": "refold-signing-key/2"}, {"locked": "AAAA"}])
def test_a_locked_file_that_is_none_says_so(tmp_path: Path, change: dict[str, str]) -> None:
    """Of another format, or cut off."""
    path = tmp_path / "a.key"
    save_key(new_key("example.com/agents"), path, passphrase="right")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match="key"):
        load_key(path, passphrase="right")


def test_a_key_is_not_repeated_where_a_file_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused is shown in logs; and no file is made of that name."""
    monkeypatch.chdir(tmp_path)
    key = new_key("example.com/agents")
    for refused in (lambda: load_key(str(key)), lambda: save_key(key, str(key))):
        with pytest.raises(UsageError) as raised:
            refused()
        assert raised.value.code == "key_not_private"
        assert str(key)[-40:] not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """Whoever can read it can sign."""
    path = tmp_path / "a.key"
    save_key(new_key("example.com/agents"), path)
    path.chmod(0o640)
    with pytest.raises(UsageError) as raised:
        load_key(path)
    assert raised.value.code == "key_not_private"
    with pytest.raises(NotFound):
        load_key(tmp_path / "no.key")


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb"])
def test_a_name_that_no_note_can_hold_is_refused(name: str) -> None:
    """As c2sp.org/signed-note has it: no spaces, no plus."""
    with pytest.raises(UsageError):
        new_key(name)


def test_the_environment_can_hold_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text, as a secret store gives it."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert key_of_environment() is None
    key = new_key("example.com/agents")
    monkeypatch.setenv(KEY_VARIABLE, f"{key}\n")
    assert key_of_environment() == key
