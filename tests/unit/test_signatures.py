"""Signatures of webhooks: the senders' published examples, every byte changed, and what is refused."""

import base64
import copy
import hashlib
import hmac
import json
import math
import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.errors import InvalidOption, InvalidSignature
from durable_lite.signatures import SCHEMES, Verified, check_secret, verify

TOLERANCE = 300.0


class Delivery(NamedTuple):
    """What was sent, signed with which secret, and what a verifier is to say of it."""

    scheme: str
    secret: str
    headers: dict
    body: bytes
    says: Verified

    def verify(self, headers=None, body=None, secrets=None, now=None):
        return verify(
            self.scheme,
            secrets or [self.secret],
            self.headers if headers is None else headers,
            self.body if body is None else body,
            (self.says.timestamp or 0.0) if now is None else now,
            TOLERANCE,
        )

    def refuses(self, message="", **changed):
        with pytest.raises(InvalidSignature) as caught:
            self.verify(**changed)
        assert re.search(message, str(caught.value))
        says_no_secret(caught.value, self.secret)

    def with_header(self, name, value):
        return {**self.headers, name: value}


def says_no_secret(error, secret):
    """What is logged of a refusal lets nobody sign, and neither does what it was raised from."""
    while error is not None:
        text = f"{error} {error!r} {error.args}"
        bare = secret.removeprefix("whsec_")
        assert bare not in text
        assert not any(spelling in text for spelling in spellings(bare))
        assert not re.search("[0-9a-f]{16}|[0-9A-Za-z+/]{25}", text)  # a signature, whosever it is
        error = error.__cause__ or error.__context__


def spellings(secret):
    return [repr(secret)[1:-1], secret.encode().hex(), base64.b64encode(secret.encode()).decode()]


# github/docs: content/webhooks/using-webhooks/validating-webhook-deliveries.md, "Testing the webhook payload
# validation". The id there is none of that example: it isn't signed.
GITHUB = Delivery(
    "github",
    "It's a Secret to Everybody",
    {
        "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    },
    b"Hello, World!",
    Verified("72d3162e-cc78-11e3-81ab-4c9367dc0958", None),
)

# standard-webhooks/standard-webhooks: libraries/javascript/src/webhook.test.ts, "sign function works".
STANDARD = Delivery(
    "standard",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    b'{"test": 2432232314}',
    Verified("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.0),
)

# stripe/stripe-dotnet: src/StripeTests/Services/Events/EventUtilityTest.cs, and the file that it reads,
# src/StripeTests/Resources/event_test_signature.json. It has the v0 that is sent in test mode.
STRIPE_EVENT = {
    "id": "evt_123",
    "object": "event",
    "account": "acct_123",
    "api_version": "2017-05-25",
    "created": 1533204620,
    "data": {
        "object": {
            "id": "cus_123",
            "object": "customer",
            "created": 123456789,
            "email": "test@stripe.com",
            "livemode": False,
            "metadata": {},
        }
    },
    "livemode": False,
    "pending_webhooks": 1,
    "request": {"id": "req_123", "idempotency_key": "idempotency-key-123"},
    "type": "customer.created",
}
V1 = "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7"
V0 = ",v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
STRIPE = Delivery(
    "stripe",
    "webhook_secret",
    {"Stripe-Signature": V1},
    json.dumps(STRIPE_EVENT, indent=2).encode() + b"\n",
    Verified("evt_123", 1533204620.0),
)
STRIPE_IN_TEST_MODE = STRIPE._replace(headers={"Stripe-Signature": V1 + V0})

PUBLISHED = [STRIPE, STRIPE_IN_TEST_MODE, GITHUB, STANDARD]
each = pytest.mark.parametrize("delivery", [STRIPE, GITHUB, STANDARD], ids=lambda delivery: delivery.scheme)


# Our own, with the algorithms that the examples prove.


def sha256(key, content):
    return hmac.new(key, content, hashlib.sha256)


def stripe(body, secret="whsec_test_secret", at="1700000000"):
    signature = sha256(secret.encode(), f"{at}.".encode() + body).hexdigest()
    return Delivery(
        "stripe", secret, {"Stripe-Signature": f"t={at},v1={signature}"}, body, Verified("", float(at))
    )


def github(body, secret="a secret of ours", id="1"):
    signature = f"sha256={sha256(secret.encode(), body).hexdigest()}"
    headers = {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": id}
    return Delivery("github", secret, headers, body, Verified(id, None))


def standard(body, secret=STANDARD.secret, id="msg_1", at="1700000000", kind="webhook"):
    digest = sha256(base64.b64decode(secret.removeprefix("whsec_")), f"{id}.{at}.".encode() + body).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    headers = {f"{kind}-id": id, f"{kind}-timestamp": at, f"{kind}-signature": signature}
    return Delivery("standard", secret, headers, body, Verified(id, float(at)))


# 1. What the senders publish.


@pytest.mark.parametrize("delivery", PUBLISHED)
def test_published_examples(delivery):
    verified = delivery.verify()
    assert verified == delivery.says
    assert type(verified.timestamp) is (type(None) if delivery is GITHUB else float)


@pytest.mark.parametrize("delivery", PUBLISHED)
def test_another_secret_fits_none_of_them(delivery):
    other = base64.b64encode(b"another").decode()
    delivery.refuses("no signature fits", secrets=[other])
    delivery.refuses("no signature fits", secrets=[delivery.secret[:-4] + "aaaa"])


# 2. Every byte changed, left out, or put in.


def changed(text, by=" ,=.-0aAtv1\x00\n\u0661"):
    """A text with each of its characters replaced by a few others, left out, or with one before it."""
    for index, character in enumerate(text):
        before, after = text[:index], text[index + 1 :]
        code = ord(character)
        others = {chr(code ^ 1), chr(code ^ 0x20), chr(code ^ 0x80), *by}
        for other in sorted(others - {character}):
            yield before + other + after
            yield before + other + character + after
        yield before + after
    for other in by:
        yield text + other


def changes(delivery):
    """The delivery with a byte of its body changed, or of a header, and that header's name."""
    for body in changed(delivery.body.decode("latin-1"), by="\n"):
        yield None, {"body": body.encode("latin-1")}
    for name, value in delivery.headers.items():
        for other in changed(value):
            yield name, {"headers": delivery.with_header(name, other)}


@each
def test_a_changed_delivery_is_refused(delivery):
    # One exception: GitHub doesn't sign the id. See below.
    signed = [change for name, change in changes(delivery) if name != "X-GitHub-Delivery"]
    assert len(signed) > 6 * len(delivery.body)
    for change in signed:
        delivery.refuses(**change)


def test_a_changed_v0_is_refused_or_changes_nothing():
    # The other exception: what isn't of a version that we read isn't read, as long as it is well-formed.
    refused = 0
    for v0 in changed(V0):
        try:
            assert STRIPE.verify(headers={"Stripe-Signature": V1 + v0}) == STRIPE.says
        except InvalidSignature:
            refused += 1
    assert refused > len(V0)


def test_the_id_of_github_is_believed_as_it_is():
    for name, change in changes(GITHUB):
        if name == "X-GitHub-Delivery":
            id = change["headers"][name]
            if id.isascii() and id.isprintable() and " " not in id:
                assert GITHUB.verify(**change) == Verified(id, None)
            else:
                GITHUB.refuses("X-GitHub-Delivery is malformed", **change)


def test_a_digest_has_one_spelling():
    """The last digit of base64 has two bits that mean nothing: four digits decode to the same bytes."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    good = STANDARD.headers["webhook-signature"]
    last = digits.index(good[-2])
    for other in range(last + 1, last + 4):
        text = good[:-2] + digits[other] + "="
        assert base64.b64decode(text[3:]) == base64.b64decode(good[3:])
        STANDARD.refuses("32 bytes", headers=STANDARD.with_header("webhook-signature", text))
    for name, upper in ("X-Hub-Signature-256", GITHUB), ("Stripe-Signature", STRIPE):
        before, _, digest = upper.headers[name].rpartition("=")
        upper.refuses("64 lower", headers=upper.with_header(name, f"{before}={digest.upper()}"))


def test_no_part_of_an_id_is_passed_off_as_the_time():
    """`msg_1.1600000000.` before `1700000000.{}` is `msg_1.1600000000` and `1700000000` before `{}`."""
    genuine = standard(b"1700000000.{}", at="1600000000")
    assert genuine.verify().id == "msg_1"
    forged = standard(b"{}", id="msg_1.1600000000", at="1700000000")
    assert forged.headers["webhook-signature"] == genuine.headers["webhook-signature"]
    forged.refuses("full stop")


# 3. Time, rotation, headers.


@pytest.mark.parametrize("delivery", [STRIPE, STANDARD], ids=lambda delivery: delivery.scheme)
def test_tolerance(delivery):
    sent = delivery.says.timestamp
    for now in (sent - TOLERANCE, sent, sent + 0.5, sent + TOLERANCE):
        assert delivery.verify(now=now) == delivery.says
    delivery.refuses("^too old", now=math.nextafter(sent + TOLERANCE, math.inf))
    delivery.refuses("^too new", now=math.nextafter(sent - TOLERANCE, 0))
    delivery.refuses("^too old: signed 86,400 s ago, 300 s are tolerated$", now=sent + 86_400)
    delivery.refuses("^too new: signed 1,000 s from now, 300 s are tolerated$", now=sent - 1000)
    for now in (math.nan, math.inf, -math.inf):
        delivery.refuses("^too", now=now)
    with pytest.raises(InvalidSignature):
        verify(delivery.scheme, [delivery.secret], delivery.headers, delivery.body, sent, math.nan)


def test_an_age_is_told_of_whoever_has_the_secret_only():
    STRIPE.refuses("no signature fits", now=0.0, body=b"{}")


def test_github_signs_no_time():
    for now in (0.0, 1e12, math.nan):
        assert GITHUB.verify(now=now) == GITHUB.says


@each
def test_rotation_of_secrets(delivery):
    other = base64.b64encode(b"the next secret").decode()
    for secrets in ([delivery.secret, other], [other, delivery.secret], (other, other, delivery.secret)):
        assert delivery.verify(secrets=secrets) == delivery.says
    delivery.refuses("no signature fits", secrets=[other])


def test_rotation_at_the_sender():
    ours, old, new = stripe(b'{"id": "e"}'), *(stripe(b'{"id": "e"}', secret) for secret in ("old", "new"))
    signatures = [one.headers["Stripe-Signature"].partition(",")[2] for one in (old, ours, new)]
    headers = {"Stripe-Signature": ",".join(["t=1700000000", *signatures])}
    assert ours.verify(headers=headers).id == "e"
    ours.refuses("no signature fits", headers=headers, secrets=["another", "yet another"])
    # The sender's version for public keys is not for us, nor is any other.
    one, name = STANDARD.headers["webhook-signature"], "webhook-signature"
    other = standard(b"").headers[name]
    for entries in ([other, one], [one, other], ["v1a,a2V5", "v2," + "A" * 43 + "=", one]):
        assert STANDARD.verify(headers=STANDARD.with_header(name, " ".join(entries))) == STANDARD.says
    for entries in ([other, other], ["v2," + one[3:]], ["v1a," + one[3:]]):
        STANDARD.refuses("no signature", headers=STANDARD.with_header(name, " ".join(entries)))


@each
def test_names_of_headers_have_any_case(delivery):
    for case in (str.lower, str.upper, str.title, str.swapcase):
        headers = {case(name): value for name, value in delivery.headers.items()}
        assert delivery.verify(headers={**headers, "Content-Type": "application/json"}) == delivery.says


@each
def test_each_header_is_there_once(delivery):
    for name, value in delivery.headers.items():
        without = {other: given for other, given in delivery.headers.items() if other != name}
        delivery.refuses(f"^the header {name} is missing$", headers=without)
        for second in (value, "", "another"):  # the same again is still no one header
            twice = {**delivery.headers, name.swapcase(): second}
            delivery.refuses(f"^the header {name} is there more than once$", headers=twice)
        for bad in ("", "\n", value + "\n", value + "é", "é" + value, "\ud800", "\x00", value + "\x7f"):
            delivery.refuses(f"^{name} is malformed", headers={**without, name: bad})
        too_long = {**without, name: value + "," * 4096}
        delivery.refuses(f"^{name} is malformed: longer than 4,096", headers=too_long)
    delivery.refuses(f"^the header {next(iter(delivery.headers))} is missing$", headers={})


def test_the_older_names_of_standard_webhooks():
    old = standard(b"{}", kind="svix")
    assert old.verify() == old.says
    # Both families: the newer one counts, and it alone.
    assert STANDARD.verify(headers={**old.headers, **STANDARD.headers}) == STANDARD.says
    for name in STANDARD.headers:
        mixed = {**old.headers, name.upper(): STANDARD.headers[name]}
        old.refuses("^the header webhook-", headers=mixed)
    for name in old.headers:
        without = {other: given for other, given in old.headers.items() if other != name}
        old.refuses(f"^the header {name} is missing", headers=without)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bad_header", "malformed: expected fields"),
        ("t", "malformed: expected fields"),
        ("t,v1=,v0=", "malformed: expected fields"),
        (",,", "malformed: expected fields"),
        (V1 + ",", "malformed: expected fields"),
        (V1.replace(",", ", "), "malformed: expected fields"),
        (V1.replace("t=", "t ="), "malformed: expected fields"),
        (V1 + ",v0=", "malformed: expected fields"),
        (V1 + V0 + "é", "malformed: expected printable ASCII"),
        (V1 + V0 + "\n", "malformed: expected printable ASCII"),
        (V1.partition(",")[2], "expected one field t, found 0"),
        (V1 + ",t=1533204620", "expected one field t, found 2"),
        ("t=1," + V1, "expected one field t, found 2"),
        (V1 + "," + V1, "expected one field t, found 2"),
        (V1.replace("t=", "T="), "expected one field t, found 0"),
        (V1.replace("v1=", "v2="), "no signature of version v1"),
        (V1.replace("v1=", "V1="), "no signature of version v1"),
        ("t=1533204620", "no signature of version v1"),
        (V1[:-1], "64 lower-case"),
        (V1 + "0", "64 lower-case"),
        (V1 + ",v1=bad_signature", "64 lower-case"),
        (V1 + "," + "v1==" + "0" * 64, "64 lower-case"),
    ],
)
def test_malformed_stripe(value, message):
    STRIPE.refuses(message, headers={"Stripe-Signature": value})


@pytest.mark.parametrize(
    "time", ["01", "+1", "-1", " 1", "1_0", "1.0", "1e9", "0x1", "x", "١", "1" * 13, "0" * 2]
)
def test_a_time_is_a_whole_number_in_one_spelling(time):
    for delivery, name in (stripe(b"{}", at="1"), "Stripe-Signature"), (standard(b"{}"), "webhook-timestamp"):
        text = delivery.headers[name].replace("t=1,", f"t={time},") if name[0] == "S" else time
        delivery.refuses(f"{name} is malformed", headers=delivery.with_header(name, text), now=1.0)


def test_the_first_and_the_last_second():
    for at in ("0", "9" * 12):
        assert stripe(b'{"id": "e"}', at=at).verify() == Verified("e", float(at))
        assert standard(b"", at=at).verify() == Verified("msg_1", float(at))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "printable"),
        ("757107ea", "expected sha256="),
        ("sha1=7d38cdd689735b008b3c702edd92eea23791c5f6", "expected sha256="),
        (GITHUB.headers["X-Hub-Signature-256"].replace("sha256", "SHA256"), "expected sha256="),
        ("sha256=", "64 lower-case"),
        (GITHUB.headers["X-Hub-Signature-256"] + ", sha256=" + "0" * 64, "64 lower-case"),
    ],
)
def test_malformed_github(value, message):
    GITHUB.refuses(message, headers=GITHUB.with_header("X-Hub-Signature-256", value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "malformed: expected signatures"),
        ("v1", "malformed: expected signatures"),
        ("v1,", "malformed: expected signatures"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= ", "malformed: expected signatures"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=  v2,x", "malformed: expected signatures"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v-2,x", "malformed: expected signatures"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= ,x", "malformed: expected signatures"),
        ("V1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "no signature of version v1"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE", "32 bytes in base64"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE==", "32 bytes in base64"),
        ("v1,g0hM9SsE-OTPJTGt_tmIKtSyZlE3uFJELVlNIOLJ1OE=", "32 bytes in base64"),
        ("v1,Z3Vlc3M=", "32 bytes in base64"),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,x", "32 bytes in base64"),
    ],
)
def test_malformed_standard(value, message):
    STANDARD.refuses(message, headers=STANDARD.with_header("webhook-signature", value))


def test_ids_have_a_length():
    assert github(b"", id="x" * 200).verify().id == "x" * 200
    github(b"", id="x" * 201).refuses("1 to 200 printable")
    assert standard(b"", id="x" * 255).verify().id == "x" * 255
    standard(b"", id="x" * 256).refuses("1 to 255 printable")
    github(b"", id="two words").refuses("without spaces")
    standard(b"", id="two words").refuses("without spaces")


def test_signatures_have_a_number():
    name, wrong = "Stripe-Signature", ",v1=" + "0" * 64
    at, _, right = V1.partition(",")
    assert STRIPE.verify(headers={name: at + wrong * 19 + "," + right}) == STRIPE.says
    STRIPE.refuses("more than 20", headers={name: at + wrong * 20 + "," + right})
    assert STRIPE.verify(headers={name: V1 + ",v0=" + "0" * (4096 - len(V1) - 4)}) == STRIPE.says
    STRIPE.refuses("longer", headers={name: V1 + ",v0=" + "0" * (4096 - len(V1) - 3)})
    name, wrong = "webhook-signature", "v1," + "A" * 43 + "= "
    right = STANDARD.headers[name]
    assert STANDARD.verify(headers=STANDARD.with_header(name, wrong * 19 + right)) == STANDARD.says
    STANDARD.refuses("more than 20", headers=STANDARD.with_header(name, wrong * 20 + right))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no JSON object with an id"),
        (b"this is not valid JSON", "no JSON object with an id"),
        (b'{"object": "event"}', "no JSON object with an id"),
        (b'["id"]', "no JSON object with an id"),
        (b'"id"', "no JSON object with an id"),
        (b'{"id": "evt_1"', "no JSON object with an id"),
        ('{"id": "evt_1"}'.encode("utf-16"), "no JSON object with an id"),
        ('{"id": "evt_1"}'.encode("utf-8-sig"), "no JSON object with an id"),
        (b'{"id": "evt_1", "\xff": 1}', "no JSON object with an id"),
        (b'{"id": ' + b"1" * 10_000 + b"}", "no JSON object with an id|body's id is malformed"),
        (b'{"id": "evt_1", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "no JSON object with an id"),
        (b"[" * 100_000, "no JSON object with an id"),
        (b'{"id": null}', "the body's id is malformed"),
        (b'{"id": 7}', "the body's id is malformed"),
        (b'{"id": ["evt_1"]}', "the body's id is malformed"),
        (b'{"id": ""}', "the body's id is malformed"),
        (b'{"id": "evt\\u00001"}', "the body's id is malformed"),
        (b'{"id": "\\ud800"}', "the body's id is malformed"),
        (b'{"id": "' + b"x" * 256 + b'"}', "the body's id is malformed"),
    ],
)  # fmt: skip
def test_a_body_without_an_id(body, message):
    stripe(body).refuses(message)
    assert github(body).verify() == Verified("1", None)
    assert standard(body).verify().id == "msg_1"


# Secrets.


def test_a_secret_of_standard_webhooks_has_a_prefix_or_not():
    assert STANDARD.verify(secrets=[STANDARD.secret.removeprefix("whsec_")]) == STANDARD.says


def test_a_secret_of_stripe_is_taken_with_its_prefix():
    delivery = stripe(b'{"id": "e"}')
    assert delivery.verify().id == "e"
    delivery.refuses("no signature fits", secrets=[delivery.secret.removeprefix("whsec_")])


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        *((scheme, secret) for scheme in SCHEMES for secret in ("", None, 7, b"YWJj", ["YWJj"], "s3cr\ud800t")),
        *(("standard", secret) for secret in ("whsec_", "s3cret!", "whsec_s3cret", "whpk_YWJj", "YWJj\n", "Grüße")),
        *(("standard", secret) for secret in ("whsec_whsec_YWJj", "YWI", "Y=WI", " YWJj", "YWJj====")),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused_and_not_shown(scheme, secret):
    for use in (
        lambda: check_secret(scheme, secret),
        lambda: verify(scheme, ["YWJj", secret], {}, b"", 0.0, TOLERANCE),
    ):
        with pytest.raises(InvalidOption, match="^secret: expected ") as caught:
            use()
        assert caught.value.option == "secret"
        assert caught.value.__context__ is None
        assert not any(part in caught.value.detail for part in ("YW", "s3cr", "Grüße"))


def test_what_is_a_secret_passes():
    for scheme, secret in [
        ("stripe", "w"),
        ("github", "Grüße, 日本"),
        ("standard", "YQ=="),
        *SECRETS.items(),
    ]:
        check_secret(scheme, secret)


@pytest.mark.parametrize("secrets", ["YWJj", "", [], ()])
def test_secrets_are_a_list(secrets):
    with pytest.raises(InvalidOption, match="^secrets: expected a list of at least one text$"):
        verify("github", secrets, GITHUB.headers, GITHUB.body, 0.0, TOLERANCE)


@pytest.mark.parametrize("scheme", ["", "Stripe", "svix", None, 7, ["stripe"]])
def test_a_scheme_is_one_of_three(scheme):
    for use in (lambda: check_secret(scheme, "YWJj"), lambda: verify(scheme, ["YWJj"], {}, b"", 0.0, 1.0)):
        with pytest.raises(
            InvalidOption, match="^scheme: expected one of 'stripe', 'github', 'standard', got "
        ):
            use()


def test_a_refusal_is_made_again_from_its_detail():
    again = copy.copy(InvalidSignature("too old"))
    assert (type(again), again.detail, str(again)) == (InvalidSignature, "too old", "too old")


# Anything at all.

SECRETS = {delivery.scheme: delivery.secret for delivery in (STRIPE, GITHUB, STANDARD)}
NAMES = sorted({*STRIPE.headers, *GITHUB.headers, *STANDARD.headers, *standard(b"", kind="svix").headers})
cased = st.builds(
    lambda name, case: case(name), st.sampled_from(NAMES), st.sampled_from([str, str.lower, str.upper])
)
words = st.sampled_from(["t=", "v1=", "v0=", "v1,", "v1a,", "sha256=", " ", ",", ".", "=", "é", "1700000000"])
digests = st.sampled_from(["0" * 64, "A" * 43 + "="])
values = [value for delivery in PUBLISHED for value in delivery.headers.values()]
likely = st.sampled_from(values) | st.lists(words | digests, max_size=9).map("".join) | st.text(max_size=9)
headers = st.dictionaries(cased | st.text(max_size=9), likely, max_size=6)
bodies = st.binary(max_size=60) | st.sampled_from([delivery.body for delivery in PUBLISHED])
moments = st.floats() | st.sampled_from([1533204620.0, 1614265330.0])


@given(st.sampled_from(sorted(SCHEMES)), headers, bodies, moments, st.floats())
def test_any_delivery_is_verified_or_refused(scheme, headers, body, now, tolerance):
    try:
        verified = verify(scheme, [SECRETS[scheme], "YWJj"], headers, body, now, tolerance)
    except InvalidSignature as error:
        says_no_secret(error, SECRETS[scheme])
    else:
        assert (scheme, verified.timestamp) in {(one.scheme, one.says.timestamp) for one in PUBLISHED}


@given(st.sampled_from([STRIPE, GITHUB, STANDARD]), headers)
def test_other_headers_beside_a_delivery_change_nothing_or_are_refused(delivery, others):
    try:
        assert delivery.verify(headers={**others, **delivery.headers}) == delivery.says
    except InvalidSignature as error:
        assert "more than once" in str(error)  # noqa: PT017 (only a name in another case may do that)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ids = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1, max_size=255
)
times = st.integers(0, 10**12 - 1).map(str)


@given(texts, st.binary(min_size=1, max_size=40), ids, times, st.binary(max_size=60))
def test_what_is_signed_is_verified(secret, key, id, at, body):
    event = stripe(json.dumps({"id": id, "about": secret}).encode(), secret, at)
    assert event.verify() == Verified(id, float(at))
    assert github(body, secret, id[:200]).verify() == Verified(id[:200], None)
    for kind in ("webhook", "svix"):
        secret = f"whsec_{base64.b64encode(key).decode()}"
        assert standard(body, secret, id, at, kind).verify() == Verified(id, float(at))


@given(st.binary(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_signed_body_has_an_id_or_is_refused(body):
    body = body if isinstance(body, bytes) else f'{{"id": {body}}}'.encode()
    try:
        assert stripe(body).verify().id == json.loads(body)["id"]
    except InvalidSignature as error:
        assert "id" in str(error)  # noqa: PT017 (the signature itself is right)
