"""A keyring that a service keeps: the transit engine of HashiCorp Vault, and what speaks as it.

The tenant key never leaves the service; data keys are wrapped and unwrapped there
(developer.hashicorp.com/vault/api-docs/secret/transit: encrypt, decrypt, rotate, config, trim).
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from refold.errors import Corrupt, NotFound, Unavailable, UsageError
from refold.privacy.keyring import Wrapped
from refold.secrecy import without_password

T = TypeVar("T")

TOKEN_VARIABLE: Final = "VAULT_TOKEN"
SCHEMES: Final = ("vault+https://", "vault+http://")
ANSWER_MAX_S: Final = 10.0
_CIPHERTEXT: Final = re.compile(r"vault:v([0-9]{1,9}):.")
_TOO_OLD: Final = ("version is too old", "minimum decryption version", "trimmed")


class _TransitAnswer(msgspec.Struct):
    """What of an answer is looked at."""

    data: dict[str, Any] | None = None
    errors: list[Any] | None = None


class VaultTransit:
    """A key of a transit engine as a keyring; its versions are the tenant keys, as ``name:v3``.

    ``url`` is the engine's, such as ``https://vault.example.com/v1/transit``. Data keys are bound
    to their rows by associated data, so the key must be of a kind that takes it: aes256-gcm96, as
    it is by default. Raises :class:`~refold.errors.Unavailable` where there is no answer.
    """

    def __init__(self, url: str, name: str, token: str) -> None:
        self._url, self._name, self._token = url.rstrip("/"), name, token

    @property
    def newest(self) -> str:
        """See :class:`~refold.privacy.keyring.Keyring`; asked each time."""
        return self._id(self._asked(int, "latest_version", "GET", f"keys/{self._path}"))

    def wrap(self, key: bytes, about: bytes) -> Wrapped:
        """See :class:`~refold.privacy.keyring.Keyring`."""
        said = {"plaintext": _text(key), "associated_data": _text(about)}
        text = self._asked(str, "ciphertext", "POST", f"encrypt/{self._path}", said)
        found = _CIPHERTEXT.match(text)
        if found is None:
            raise self._odd("its ciphertext names no version")
        return Wrapped(self._id(int(found[1])), text.encode())

    def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        """See :class:`~refold.privacy.keyring.Keyring`."""
        if not wrapped.tenant_key.startswith(f"{self._name}:v"):
            why = f"the tenant key {wrapped.tenant_key} is none of {self._name}"
            raise NotFound(why, code="no_tenant_key", key=wrapped.tenant_key)
        text = wrapped.wrapped.decode(errors="replace")
        said = {"ciphertext": text, "associated_data": _text(about)}
        try:
            plain = self._asked(str, "plaintext", "POST", f"decrypt/{self._path}", said)
            return b64decode(plain, validate=True)
        except UsageError as refusal:
            if any(word in refusal.message for word in _TOO_OLD):
                why = f"the tenant key {wrapped.tenant_key} was retired"
                raise NotFound(why, code="no_tenant_key", key=wrapped.tenant_key) from refusal
            raise Corrupt(
                f"what {wrapped.tenant_key} wrapped was changed: {refusal.message}",
                key=wrapped.tenant_key,
            ) from refusal
        except ValueError as error:
            raise self._odd("its plaintext is no base64") from error

    def rotated(self) -> VaultTransit:
        """The same with a new version, which wraps from now on."""
        self._sent("POST", f"keys/{self._path}/rotate", {})
        return self

    def without(self, retired: Sequence[str]) -> VaultTransit:
        """The same without some versions, and those before: the service destroys them."""
        if retired:
            first = max(int(one.rpartition(":v")[2]) for one in retired) + 1
            least = {"min_decryption_version": first, "min_encryption_version": first}
            self._sent("POST", f"keys/{self._path}/config", least)
            self._sent("POST", f"keys/{self._path}/trim", {"min_available_version": first})
        return self

    @property
    def _path(self) -> str:
        return quote(self._name, safe="")

    @property
    def _shown(self) -> str:
        """The address as it may be shown."""
        return without_password(self._url)

    def __repr__(self) -> str:
        return f"VaultTransit({self._shown!r}, {self._name!r})"

    def _id(self, version: int) -> str:
        return f"{self._name}:v{version}"

    def _asked(self, kind: type[T], name: str, *request: Any) -> T:
        """What the data of an answer says by a name."""
        said = (self._sent(*request).data or {}).get(name)
        if type(said) is not kind:
            raise self._odd(f"it does not say {name}")
        return said

    def _sent(self, method: str, path: str, said: Any = None) -> _TransitAnswer:
        import httpx2

        where, host = f"{self._shown}/{path}", urlsplit(self._url).hostname or ""
        # A proxy that the environment names is for what lies beyond this machine.
        direct = {f"all://[{host}]" if ":" in host else f"all://{host}": None}
        try:
            mounts = direct if _is_here(host) else None
            with httpx2.Client(mounts=mounts, timeout=ANSWER_MAX_S) as client:
                token = {"X-Vault-Token": self._token}
                answer = client.request(method, f"{self._url}/{path}", json=said, headers=token)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            why = without_password(f"{self._url} does not answer: {error}")
            raise Unavailable(why, url=self._shown) from error
        told = _answer_of(answer.content)
        if answer.status_code in (400, 404):
            why = "; ".join(map(str, (told and told.errors) or ["there is no such key"]))
            raise UsageError(f"{where} refused: {why:.300}", url=self._shown)
        if answer.status_code == 403:
            why = f"{where} refused the token of {TOKEN_VARIABLE}"
            raise UsageError(why, code="no_permission", url=self._shown)
        if answer.status_code >= 300:
            why = f"{where} answers with status {answer.status_code}"
            raise Unavailable(why, url=self._shown)
        if told is None:
            raise self._odd("it is none of a transit engine")
        return told

    def _odd(self, why: str) -> Unavailable:
        return Unavailable(f"{self._shown} gives an answer that is odd: {why}", url=self._shown)


def _answer_of(content: bytes) -> _TransitAnswer | None:
    try:
        return msgspec.json.decode(content, type=_TransitAnswer) if content else _TransitAnswer()
    except ValueError:
        return None


def vault_of(text: str) -> VaultTransit:
    """The keyring of ``vault+https://HOST/v1/transit/NAME``, by the token of ``VAULT_TOKEN``.

    Without TLS only on this machine: else :class:`~refold.errors.UsageError` (``not_secret``).
    """
    url = urlsplit(text.removeprefix("vault+"))
    engine, _, name = url.path.rstrip("/").rpartition("/")
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not (url.netloc and engine and name and token):
        why = "name a key as vault+https://HOST/v1/transit/NAME, and its token by"
        raise UsageError(f"{why} {TOKEN_VARIABLE}", argument="keyring")
    if url.scheme != "https" and not _is_here(url.hostname or ""):
        why = (
            f"{without_password(text)} would send the token and data keys in clear: vault+https://"
        )
        raise UsageError(why, code="not_secret", argument="keyring")
    return VaultTransit(f"{url.scheme}://{url.netloc}{engine}", name, token)


def _is_here(host: str) -> bool:
    """Whether what is sent to a host does not leave this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _text(value: bytes) -> str:
    return b64encode(value).decode()
