"""A keyring that a service keeps: the transit engine of HashiCorp Vault, and what speaks as it.

The tenant key never leaves the service; data keys are wrapped and unwrapped there
(developer.hashicorp.com/vault/api-docs/secret/transit: encrypt, decrypt, rotate, config, trim).
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from refold.errors import Corrupt, NotFound, Unavailable, UsageError
from refold.privacy.keyring import Wrapped

TOKEN_VARIABLE: Final = "VAULT_TOKEN"
SCHEMES: Final = ("vault+https://", "vault+http://")
ANSWER_MAX_S: Final = 10.0
_TOO_OLD: Final = ("version is too old", "minimum decryption version", "trimmed")


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
        return self._id(self._asked("GET", f"keys/{self._path}")["latest_version"])

    def wrap(self, key: bytes, about: bytes) -> Wrapped:
        """See :class:`~refold.privacy.keyring.Keyring`."""
        said = {"plaintext": _text(key), "associated_data": _text(about)}
        text = str(self._asked("POST", f"encrypt/{self._path}", said)["ciphertext"])
        version = text.split(":")[1].removeprefix("v")
        return Wrapped(self._id(version), text.encode())

    def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        """See :class:`~refold.privacy.keyring.Keyring`."""
        if not wrapped.tenant_key.startswith(f"{self._name}:v"):
            why = f"the tenant key {wrapped.tenant_key} is none of {self._name}"
            raise NotFound(why, code="no_tenant_key", key=wrapped.tenant_key)
        text = wrapped.wrapped.decode(errors="replace")
        said = {"ciphertext": text, "associated_data": _text(about)}
        try:
            return b64decode(self._asked("POST", f"decrypt/{self._path}", said)["plaintext"])
        except UsageError as refusal:
            if any(word in refusal.message for word in _TOO_OLD):
                why = f"the tenant key {wrapped.tenant_key} was retired"
                raise NotFound(why, code="no_tenant_key", key=wrapped.tenant_key) from refusal
            raise Corrupt(
                f"what {wrapped.tenant_key} wrapped was changed: {refusal.message}",
                key=wrapped.tenant_key,
            ) from refusal

    def rotated(self) -> VaultTransit:
        """The same with a new version, which wraps from now on."""
        self._asked("POST", f"keys/{self._path}/rotate", {})
        return self

    def without(self, retired: Sequence[str]) -> VaultTransit:
        """The same without some versions, and those before: the service destroys them."""
        if retired:
            first = max(int(one.rpartition(":v")[2]) for one in retired) + 1
            least = {"min_decryption_version": first, "min_encryption_version": first}
            self._asked("POST", f"keys/{self._path}/config", least)
            self._asked("POST", f"keys/{self._path}/trim", {"min_available_version": first})
        return self

    @property
    def _path(self) -> str:
        return quote(self._name, safe="")

    def _id(self, version: object) -> str:
        return f"{self._name}:v{version}"

    def _asked(self, method: str, path: str, said: Any = None) -> Any:
        import httpx2

        where = f"{self._url}/{path}"
        try:
            answer = httpx2.request(
                method,
                where,
                json=said,
                headers={"X-Vault-Token": self._token},
                timeout=ANSWER_MAX_S,
            )
            told = msgspec.json.decode(answer.content) if answer.content else {}
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise Unavailable(f"{self._url} does not answer: {error}", url=self._url) from error
        if answer.status_code in (400, 404):
            why = "; ".join(map(str, told.get("errors") or ["there is no such key"]))
            raise UsageError(f"{where} refused: {why:.300}", url=self._url)
        if answer.status_code == 403:
            why = f"{where} refused the token of {TOKEN_VARIABLE}"
            raise UsageError(why, code="no_permission", url=self._url)
        if answer.status_code >= 300:
            raise Unavailable(f"{where} answers with status {answer.status_code}", url=self._url)
        return told.get("data") or {}


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
        why = f"{text} would send the token and data keys in clear: vault+https://"
        raise UsageError(why, code="not_secret", argument="keyring")
    return VaultTransit(f"{url.scheme}://{url.netloc}{engine}", name, token)


def _is_here(host: str) -> bool:
    """Whether what is sent to a host does not leave this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _text(value: bytes) -> str:
    return b64encode(value).decode()
