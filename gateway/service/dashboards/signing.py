"""Sign short-lived claims that browsers keep: who is logged in, and which login has begun. Pure."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

KEY_LABEL = b"dask-gateway: claims of dashboards"
"""Separates this use of the hub's token from every other one."""
MOST_CHARACTERS = 4096
EXPIRES = "expires"

Claims = Mapping[str, str | bool | float]


def derived_key(secret: str, label: bytes = KEY_LABEL) -> bytes:
    """Return the key that follows from a secret of the gateway; all replicas of a gateway get the same one.

    Keys of different labels tell nothing of each other.
    """
    return hmac.digest(secret.encode(), label, "sha256")


def signed(key: bytes, purpose: str, claims: Claims, expires: float) -> str:
    """Return the claims as text for a URL or a cookie, valid for one purpose until ``expires`` (seconds, Unix time)."""
    # Without padding, because "=" in a cookie's value would need quotes.
    text = urlsafe_b64encode(json.dumps({**claims, EXPIRES: expires}).encode()).decode().rstrip("=")
    return f"{text}.{_signature(key, purpose, text)}"


def verified(key: bytes, purpose: str, text: str, now: float) -> Claims | None:
    """Return the claims of a text that this gateway signed for the purpose and that has not expired; None otherwise."""
    content, _, signature = text.rpartition(".")
    if len(text) > MOST_CHARACTERS or not text.isascii():
        return None
    if not hmac.compare_digest(signature, _signature(key, purpose, content)):
        return None
    claims: dict[str, str | bool | float] = json.loads(urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    return claims if now < float(claims[EXPIRES]) else None


def _signature(key: bytes, purpose: str, text: str) -> str:
    return hmac.digest(key, f"{purpose}\n{text}".encode(), "sha256").hex()
