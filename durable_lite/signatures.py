"""Signatures of webhooks: who sent a delivery, and which one it is.

Three conventions of headers. What their senders wouldn't write is refused, and never mended.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .brief import described
from .codec import is_too_deep
from .errors import InvalidOption, InvalidSignature

__all__ = ["SCHEMES", "Claim", "Scheme", "Verified", "check_secret", "verify"]

_MAX_HEADER = 4096
_MAX_SIGNATURES = 20  # each costs a comparison; a sender has one for each of its few valid keys

_is_ascii_text = re.compile(r"[ -~]+").fullmatch
_is_visible = re.compile(r"[!-~]+").fullmatch
_is_name = re.compile(r"[A-Za-z0-9]+").fullmatch
_is_time = re.compile(r"0|[1-9][0-9]{0,11}").fullmatch
_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch
# Versions of Python differ in what their decoder takes besides.
_is_base64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch


class Verified(NamedTuple):
    """What a verified delivery says of itself: its id, by which it is known again, and when it was sent.

    `timestamp` is None where the scheme signs none.
    """

    id: str
    timestamp: float | None


class Claim(NamedTuple):
    """What the headers of a delivery claim, until one of the signatures fits. `id` None: the body has it."""

    signatures: list[bytes]
    prefix: bytes  # is signed before the body
    id: str | None
    timestamp: int | None


class Scheme(NamedTuple):
    """A convention of headers: what a secret looks like, its key, and how the headers are read."""

    secret: str
    key: Callable[[str], bytes]
    claim: Callable[[Mapping[str, str]], Claim]


def verify(
    scheme: str, secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float, tolerance: float
) -> Verified:
    """What a delivery says of itself, if it was signed with one of the secrets.

    Where the scheme signs the time, that must be within `tolerance` seconds of `now`, before or after.
    Raises `InvalidSignature`; for a scheme or a secret that is none, `InvalidOption`.
    """
    rules = _rules(scheme)
    if isinstance(secrets, str) or not secrets:  # a text is a sequence, too: of secrets of one letter
        raise InvalidOption("secrets", "expected a list of at least one text")
    keys = [_key(rules, secret) for secret in secrets]
    claim = rules.claim(headers)
    if not _fits(keys, claim.prefix + body, claim.signatures):
        raise InvalidSignature("no signature fits the body and any of the secrets")
    if claim.timestamp is not None:
        _check_time(claim.timestamp, now, tolerance)
    id = _id_in(body) if claim.id is None else claim.id
    return Verified(id, None if claim.timestamp is None else float(claim.timestamp))


def check_secret(scheme: str, secret: Any) -> None:
    """Raises `InvalidOption("secret", …)`, which doesn't show it, if this can't be a secret of the scheme."""
    _key(_rules(scheme), secret)


def _rules(scheme: str) -> Scheme:
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        known = ", ".join(map(repr, SCHEMES))
        raise InvalidOption("scheme", f"expected one of {known}, got {described(scheme)}")
    return SCHEMES[scheme]


def _key(rules: Scheme, secret: Any) -> bytes:
    if not isinstance(secret, str):
        raise InvalidOption("secret", f"expected {rules.secret}, got {type(secret).__name__}")
    try:
        key = rules.key(secret)
    except ValueError:  # it may hold the secret, so what is raised must not come from it
        key = b""
    if not key:
        raise InvalidOption("secret", f"expected {rules.secret}")
    return key


def _fits(keys: list[bytes], content: bytes, signatures: list[bytes]) -> bool:
    """Whether any key gives any of these signatures; how long it takes says neither which nor how nearly."""
    import hmac  # brings OpenSSL along, which only a receiver of webhooks needs

    fits = False
    for key in keys:
        expected = hmac.digest(key, content, "sha256")
        for signature in signatures:
            fits |= hmac.compare_digest(expected, signature)
    return fits


def _check_time(sent: int, now: float, tolerance: float) -> None:
    # Written so that a nan is refused.
    if not now - sent <= tolerance:
        raise InvalidSignature(f"too old: signed {now - sent:,.0f} s ago, {tolerance:g} s are tolerated")
    if not sent - now <= tolerance:
        raise InvalidSignature(f"too new: signed {sent - now:,.0f} s from now, {tolerance:g} s are tolerated")


# The three schemes.


def _stripe(headers: Mapping[str, str]) -> Claim:
    """`t=…,v1=…`, and others: `v0` is sent in test mode, and signs nothing."""
    name = "Stripe-Signature"
    times: list[str] = []
    signatures: list[bytes] = []
    for part in _header(headers, name).split(","):
        field, _, value = part.partition("=")
        if not _is_name(field) or not value:
            raise InvalidSignature(f"{name} is malformed: expected fields such as t=1 with commas between")
        if field == "t":
            times.append(value)
        elif field == "v1":
            signatures.append(_from_hex(value, name))
    if len(times) != 1:
        raise InvalidSignature(f"{name} is malformed: expected one field t, found {len(times)}")
    _check_count(signatures, name)
    return Claim(signatures, f"{times[0]}.".encode(), None, _seconds(times[0], name))


def _github(headers: Mapping[str, str]) -> Claim:
    """A signature of the body alone.

    The id isn't signed. Who has caught a delivery can send it again under another id, and at any time.
    """
    name = "X-Hub-Signature-256"
    signature = _header(headers, name)
    algorithm, _, value = signature.partition("=")
    if algorithm != "sha256":
        raise InvalidSignature(f"{name} is malformed: expected sha256= and a signature")
    id = _id(_header(headers, "X-GitHub-Delivery"), "X-GitHub-Delivery", 200)
    return Claim([_from_hex(value, name)], b"", id, None)


def _standard(headers: Mapping[str, str]) -> Claim:
    """Standard Webhooks, and as it was called before: all three headers by the one name or by the other."""
    given = {name.lower() for name in headers}
    named = {kind: (f"{kind}-id", f"{kind}-timestamp", f"{kind}-signature") for kind in ("webhook", "svix")}
    old = given.isdisjoint(named["webhook"]) and not given.isdisjoint(named["svix"])
    id_name, time_name, name = named["svix" if old else "webhook"]
    id = _id(_header(headers, id_name), id_name)
    if "." in id:  # or a part of the id could be passed off as the time, and the time as body
        raise InvalidSignature(f"{id_name} is malformed: a full stop must not be in it")
    time = _header(headers, time_name)
    seconds = _seconds(time, time_name)
    signatures: list[bytes] = []
    for entry in _header(headers, name).split(" "):
        version, _, value = entry.partition(",")
        if not _is_name(version) or not value:
            raise InvalidSignature(
                f"{name} is malformed: expected signatures such as v1,… with spaces between"
            )
        if version == "v1":
            signatures.append(_from_base64(value, name))
    _check_count(signatures, name)
    return Claim(signatures, f"{id}.{time}.".encode(), id, seconds)


def _standard_key(secret: str) -> bytes:
    text = secret.removeprefix("whsec_")
    return binascii.a2b_base64(text) if _is_base64(text) else b""


SCHEMES: dict[str, Scheme] = {
    "stripe": Scheme("text in UTF-8, not empty", str.encode, _stripe),  # its whsec_ is part of the key
    "github": Scheme("text in UTF-8, not empty", str.encode, _github),
    "standard": Scheme("base64 text, not empty, with whsec_ before it or not", _standard_key, _standard),
}


# Their parts. No message repeats what strangers have written.


def _header(headers: Mapping[str, str], name: str) -> str:
    wanted = name.lower()
    values = [value for given, value in headers.items() if given.lower() == wanted]
    if not values:
        raise InvalidSignature(f"the header {name} is missing")
    if len(values) > 1:
        raise InvalidSignature(f"the header {name} is there more than once")
    if len(values[0]) > _MAX_HEADER:
        raise InvalidSignature(f"{name} is malformed: longer than {_MAX_HEADER:,} characters")
    if not _is_ascii_text(values[0]):
        raise InvalidSignature(f"{name} is malformed: expected printable ASCII characters")
    return values[0]


def _seconds(text: str, name: str) -> int:
    if not _is_time(text):
        raise InvalidSignature(f"{name} is malformed: expected the time as a whole number of seconds")
    return int(text)


def _id(value: Any, name: str, limit: int = 255) -> str:
    if not isinstance(value, str) or not _is_visible(value) or len(value) > limit:
        wanted = f"expected an id of 1 to {limit} printable ASCII characters without spaces"
        raise InvalidSignature(f"{name} is malformed: {wanted}")
    return value


def _id_in(body: bytes) -> str:
    """The `id` of a JSON object."""
    try:
        text = body.decode()
        data = None if is_too_deep(text) else json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "id" not in data:
        raise InvalidSignature("the signature fits, but the body is no JSON object with an id")
    return _id(data["id"], "the body's id")


def _from_hex(text: str, name: str) -> bytes:
    if not _is_digest(text):  # bytes.fromhex would take capitals and spaces
        raise InvalidSignature(f"{name} is malformed: expected 64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def _from_base64(text: str, name: str) -> bytes:
    digest = binascii.a2b_base64(text) if _is_base64(text) else b""
    # The last digit has two bits that mean nothing, and must not have two spellings.
    if len(digest) != 32 or binascii.b2a_base64(digest, newline=False) != text.encode():
        raise InvalidSignature(f"{name} is malformed: expected 32 bytes in base64")
    return digest


def _check_count(signatures: list[bytes], name: str) -> None:
    if not signatures:
        raise InvalidSignature(f"{name} has no signature of version v1")
    if len(signatures) > _MAX_SIGNATURES:
        raise InvalidSignature(f"{name} has more than {_MAX_SIGNATURES} signatures")
