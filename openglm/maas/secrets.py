"""The platform's secrets: one master key, keys derived from it, and sealed values.

The master key is `secret.key` in the data folder (made on first use, readable by its owner alone) or
OPENGLM_SECRET_KEY. A sealed value opens only with the purpose and the context that it was sealed for, so a
row copied onto another row is refused. Who loses the key loses what is sealed; hashes (keys, tokens) stay
valid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from openglm.errors import OpenGLMError

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"  # AES-256-GCM, HKDF-SHA256


class SealBroken(OpenGLMError):
    """A sealed value that does not open: another master key, another row, or changed bytes."""


class Secrets:
    """The master key and what it does. It never shows itself."""

    def __init__(self, master: bytes):
        if len(master) != KEY_BYTES:
            raise OpenGLMError(f"the master key must be {KEY_BYTES} bytes, got {len(master)}")
        self._master = master
        self._derived: dict[str, bytes] = {}

    @classmethod
    def open(cls, folder: Path, *, make: bool = True) -> Secrets:
        """The key of the environment, else of the data folder; with `make` it is made there if it is not."""
        if text := os.environ.get("OPENGLM_SECRET_KEY"):
            return cls(_decode(text, "OPENGLM_SECRET_KEY"))
        path = folder / "secret.key"
        if not path.exists():
            if not make:
                raise OpenGLMError(
                    f"{path} is missing: it is the master key that the database was written with",
                    hint="bring it back from a backup, or give it as OPENGLM_SECRET_KEY",
                )
            _make(path)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise OpenGLMError(f"cannot read the master key {path}: {error}") from None
        if mode & 0o077:
            raise OpenGLMError(
                f"others can read the master key {path} (mode {mode:o})", hint=f"chmod 600 {path}"
            )
        return cls(_decode(text, str(path)))

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; they tell nothing about the master key or about other purposes."""
        key = self._derived.get(purpose)
        if key is None:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF

            info = b"openglm/" + purpose.encode()
            key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._master)
            self._derived[purpose] = key
        return key

    def seal(self, purpose: str, value: bytes, *, context: str) -> bytes:
        """Encrypt `value`; `context` names where it stands, such as the id of its row."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + AESGCM(self.derive(purpose)).encrypt(nonce, value, context.encode())

    def unseal(self, purpose: str, sealed: bytes, *, context: str) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        sealed = bytes(sealed)
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] == _VERSION and len(body) >= 16:
            try:
                return AESGCM(self.derive(purpose)).decrypt(nonce, body, context.encode())
            except InvalidTag:
                pass
        raise SealBroken(
            f"a sealed {purpose} does not open",
            hint="the data folder needs the secret.key (or OPENGLM_SECRET_KEY) that it was written with",
        )

    def mac(self, purpose: str, value: str) -> str:
        """A keyed fingerprint: only who has the master key can make it."""
        return hmac.new(self.derive(purpose), value.encode(), hashlib.sha256).hexdigest()


def _make(path: Path) -> None:
    """Write a new key and put it into place whole: of two processes that start at once, one wins for both."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    except OSError as error:
        raise OpenGLMError(f"cannot write the master key {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _decode(text: str, source: str) -> bytes:
    text = text.strip()
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise OpenGLMError(
            f"{source} must hold {KEY_BYTES} bytes in base64 or hex", hint="make one: openssl rand -base64 32"
        )
    return key


def fingerprint(token: str) -> str:
    """What the database keeps of a token that we made: it has too many bits to be guessed from its hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(given: str, known: str) -> bool:
    """Equal? Takes as long for a near miss as for a wild guess."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def new_token(kind: str) -> str:
    """256 bits by chance. `kind` is one letter; the common face `glmX_` lets logs and scanners know it."""
    return f"glm{kind}_{secrets.token_urlsafe(32)}"
