"""
Signs requests to the exchange.

The signed text is timestamp in milliseconds + method + path, without host or query. RSA keys sign with PSS,
SHA-256 and a salt of 32 bytes; Ed25519 keys sign the same text. (Kalshi documentation, quick start for
WebSockets; Ed25519: its Python SDK 3.34.) A signature is good for some seconds only: each try needs its own.
"""

import base64
from typing import TypeAlias

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256().digest_size)


def load_private_key(pem: str) -> PrivateKey:
    """The key in a PEM text, PKCS#1 or PKCS#8. Raises ValueError, which never repeats the text."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a PEM private key without a passphrase") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("neither an RSA nor an Ed25519 key")
    return key


def is_usable_key(pem: str) -> bool:
    """Whether a PEM text holds a key that can sign."""
    try:
        load_private_key(pem)
    except ValueError:
        return False
    return True


@frozen
class Signer:
    """Makes the three headers that the exchange asks for."""

    key_id: str = field(repr=False)
    key: PrivateKey = field(repr=False)

    def headers(self, method: str, path: str, now_ms: int) -> dict[str, str]:
        """Headers for one request, to be sent at once."""
        text = f"{now_ms}{method}{path}".encode()
        if isinstance(self.key, RSAPrivateKey):
            signature = self.key.sign(text, _PSS, hashes.SHA256())
        else:
            signature = self.key.sign(text)
        return {
            "KALSHI-ACCESS-KEY": self.key_id,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode("ascii"),
            "KALSHI-ACCESS-TIMESTAMP": str(now_ms),
        }
