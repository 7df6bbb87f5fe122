"""
Who may connect: the key pair of the one account here, and the check of a handshake's three headers.

Pure but for the making of the key. The signed text is `timestamp + "GET" + path`, the path without its
query; RSA keys sign with PSS (SHA-256, MGF1 of SHA-256, 32 bytes of salt), Ed25519 keys as they do.
"""

import base64
import binascii
import typing
import uuid

import attrs
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

WS_PATH = "/trade-api/ws/v2"
# 10 s off is accepted by the exchange, 60 s is not; in between lies what nobody has measured.
WINDOW_MS = 30_000
SALT_BYTES = 32

KeyKind = typing.Literal["rsa", "ed25519"]
_PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@attrs.frozen
class Refusal:
    """An HTTP status and a JSON body instead of a connection."""

    status: int
    body: bytes


NOT_FOUND = Refusal(401, b'{"code":"authentication_error","details":"NOT_FOUND"}')
EXPIRED = Refusal(401, b'{"code":"header_timestamp_expired","message":"header timestamp expired"}')
NO_SUCH_PATH = Refusal(404, b'{"code":"not_found","message":"not found"}')


def refused_with(status: int) -> Refusal:
    """Return a refusal that a fault asks for."""
    if status == 429:
        return Refusal(status, b'{"error":"too many requests"}')
    return Refusal(status, msgspec.json.encode({"code": "refused", "message": f"status {status}"}))


class AccessKey:
    """The account's key: its id, its private half for the client, and its public half for the check."""

    def __init__(self, kind: KeyKind) -> None:
        self.key_id = str(uuid.uuid4())
        self._private: _PrivateKey = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if kind == "rsa"
            else ed25519.Ed25519PrivateKey.generate()
        )
        self._public: _PublicKey = self._private.public_key()

    @property
    def private_key_pem(self) -> str:
        """The private key as the exchange hands it out: RSA as PKCS#1, Ed25519 as PKCS#8."""
        form = (
            serialization.PrivateFormat.TraditionalOpenSSL
            if isinstance(self._private, rsa.RSAPrivateKey)
            else serialization.PrivateFormat.PKCS8
        )
        pem = self._private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return pem.decode()

    def sign(self, timestamp_ms: int, path: str = WS_PATH) -> str:
        """Sign as a client does, for clients in tests."""
        text = f"{timestamp_ms}GET{path}".encode()
        if isinstance(self._private, rsa.RSAPrivateKey):
            signature = self._private.sign(text, _pss(), hashes.SHA256())
        else:
            signature = self._private.sign(text)
        return base64.b64encode(signature).decode()

    def headers(self, timestamp_ms: int) -> list[tuple[bytes, bytes]]:
        """Return the headers of a good handshake, for clients in tests."""
        return [
            (b"KALSHI-ACCESS-KEY", self.key_id.encode()),
            (b"KALSHI-ACCESS-SIGNATURE", self.sign(timestamp_ms).encode()),
            (b"KALSHI-ACCESS-TIMESTAMP", str(timestamp_ms).encode()),
        ]

    def refusal(self, target: str, headers: list[tuple[bytes, bytes]], now_ms: int) -> Refusal | None:
        """Check a handshake; None lets it in."""
        path = target.partition("?")[0]
        if path != WS_PATH:
            return NO_SUCH_PATH
        values = {name.lower(): value for name, value in headers}
        key_id = values.get(b"kalshi-access-key")
        signature = values.get(b"kalshi-access-signature")
        timestamp = values.get(b"kalshi-access-timestamp")
        if (
            key_id != self.key_id.encode()
            or signature is None
            or timestamp is None
            or not timestamp.isdigit()
        ):
            return NOT_FOUND
        if abs(int(timestamp) - now_ms) > WINDOW_MS:
            return EXPIRED
        return None if self._verifies(signature, timestamp + b"GET" + path.encode()) else NOT_FOUND

    def _verifies(self, signature: bytes, text: bytes) -> bool:
        try:
            raw = base64.b64decode(signature, validate=True)
            if isinstance(self._public, rsa.RSAPublicKey):
                self._public.verify(raw, text, _pss(), hashes.SHA256())
            else:
                self._public.verify(raw, text)
        except (InvalidSignature, binascii.Error):
            return False
        return True


def _pss() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=SALT_BYTES)
