"""Webhooks: a delivery that is verified starts its jobs, once; any other starts nothing."""

import base64
import hashlib
import hmac
import json

import pytest

from durable_lite import (
    Context,
    Delivery,
    Durable,
    InvalidDelivery,
    InvalidOption,
    InvalidSignature,
    Status,
    TooLarge,
    UnknownWebhook,
    Webhook,
    job,
)
from durable_lite.records import RunFilter
from tests.engine.support import status

SECRET = "whsec_" + base64.b64encode(b"k3y of the test, long enough").decode()
OTHER = "whsec_" + base64.b64encode(b"another one, long enough too").decode()


def mac(key, content):
    return hmac.new(key, content, hashlib.sha256)


def standard(body, at, id="msg_1", secret=SECRET):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(mac(key, f"{id}.{at:.0f}.".encode() + body).digest()).decode()
    return {"Webhook-Id": id, "Webhook-Timestamp": f"{at:.0f}", "Webhook-Signature": f"v1,{signature}"}


def stripe(body, at, secret=SECRET):
    return {
        "Stripe-Signature": f"t={at:.0f},v1={mac(secret.encode(), f'{at:.0f}.'.encode() + body).hexdigest()}"
    }


def github(body, at, id="72d3162e-cc78-11e3-81ab-4c9367dc0958", secret=SECRET):
    signature = f"sha256={mac(secret.encode(), body).hexdigest()}"
    return {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": id, "X-GitHub-Event": "push"}


def taker(*on, name="takes"):
    @job(name, on=on)
    async def takes(ctx: Context, delivery: Delivery) -> dict:
        data = delivery.json()
        return {"id": delivery.id, "webhook": delivery.webhook, "headers": delivery.headers, "data": data}

    return takes


BODY = json.dumps({"id": "evt_1", "type": "invoice.paid", "amount": 5, "name": "Müller"}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("name", "sign", "id"),
    [
        ("stripe", stripe, "evt_1"),
        ("github", github, "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("own", standard, "msg_1"),
    ],
)
async def test_it_starts_a_run_once(make_app, name, sign, id):
    works = taker(Webhook(name, secret=SECRET))
    async with make_app(works) as app:
        sent_at = app.clock.now()
        headers = sign(BODY.encode(), sent_at) | {"Authorization": "Bearer x", "User-Agent": "sender"}
        sent = await app.receive_webhook(name, headers, BODY.encode())
        assert (sent.fresh, sent.waits) == (True, 0)
        [run_id] = sent.runs
        output = await app.result(run_id)
        assert (output["id"], output["webhook"], output["data"]) == (id, name, json.loads(BODY))
        assert output["headers"]["user-agent"] == "sender"
        stored = repr(await app.store.list_runs(RunFilter()))
        assert not any(secret in stored for secret in ("Bearer", "signature", SECRET))
        assert json.loads((await app.store.get_run(run_id)).trigger) == {
            "kind": "webhook",
            "name": name,
            "event": f"webhook {name} {id}",
            "timestamp": sent_at,
        }
        again = await app.receive_webhook(name, headers, BODY.encode())
        assert again == sent._replace(fresh=False)
        assert len((await app.list_runs()).runs) == 1


@pytest.mark.parametrize("sign", [stripe, standard])
async def test_one_that_is_too_old_starts_nothing(make_app, sign):
    name = "stripe" if sign is stripe else "own"
    works = taker(Webhook(name, secret=SECRET, tolerance="1m"))
    async with make_app(works) as app:
        headers = sign(BODY.encode(), app.clock.now())
        await app.clock.advance(61)
        with pytest.raises(InvalidSignature, match="too old"):
            await app.receive_webhook(name, headers, BODY.encode())
        assert (await app.list_runs()).runs == []


async def test_what_is_not_signed_by_it_starts_nothing(make_app):
    works = taker(Webhook("own", secret=[SECRET, OTHER]))
    async with make_app(works) as app:
        body, now = BODY.encode(), app.clock.now()
        stranger = "whsec_" + base64.b64encode(b"stranger").decode()
        for headers, given in (
            ({}, body),
            (standard(body, now, secret=stranger), body),
            (standard(body, now), body + b" "),
            (standard(body, now) | {"Webhook-Id": "msg_2"}, body),
        ):
            with pytest.raises(InvalidSignature) as caught:
                await app.receive_webhook("own", headers, given)
            assert SECRET not in str(caught.value)
        with pytest.raises(UnknownWebhook, match="no job is on a webhook 'other'"):
            await app.receive_webhook("other", standard(body, now), body)
        assert (await app.list_runs()).runs == []
        for number, secret in enumerate((SECRET, OTHER)):
            assert (await app.receive_webhook("own", standard(body, now, f"m{number}", secret), body)).fresh


async def test_jobs_by_what_they_match_and_waits_by_the_event(make_app):
    paid = taker(Webhook("stripe", secret=SECRET, match={"type": "invoice.paid"}), name="paid")
    large = taker(Webhook("stripe", secret=SECRET, match={"amount": {"gte": 100}}), name="large")
    both = taker(
        Webhook("stripe", secret=SECRET, match={"amount": 5}),
        Webhook("stripe", secret=SECRET, match={"type": "invoice.paid"}),
        name="both",
    )

    @job(on=Webhook("stripe", secret=SECRET))
    async def without(ctx):
        return "counted"

    @job
    async def waits(ctx: Context):
        event = await ctx.wait_for_event(
            "paid", "webhook.stripe", match={"data.type": "invoice.paid"}, timeout="1d"
        )
        return event["data"]["amount"], event["id"]

    async with make_app([paid, large, both, without, waits]) as app:
        run = await app.trigger(waits)
        await app.clock.advance(1)
        assert await status(app.store, run) == "WAITING"
        sent = await app.receive_webhook("stripe", stripe(BODY.encode(), app.clock.now()), BODY.encode())
        assert sent.waits == 1
        jobs = sorted([(await app.get_run(id)).job for id in sent.runs])
        assert jobs == ["both", "paid", "without"]
        assert await app.result(run) == (5, "evt_1")
        for id in sent.runs:
            await app.result(id)


async def test_a_function_of_ones_own(make_app):
    async def verified(headers, body):
        if headers.get("x-pass") != "please":
            raise InvalidSignature("it didn't say please")
        return headers.get("x-id", "")

    works = taker(Webhook("own", verify=verified))
    async with make_app(works) as app:
        [run] = (await app.receive_webhook("own", {"x-pass": "please", "x-id": "7"}, b"[1]")).runs
        assert (await app.result(run))["id"] == "7"
        with pytest.raises(InvalidSignature, match="didn't say please"):
            await app.receive_webhook("own", {}, b"[1]")
        with pytest.raises(InvalidDelivery, match="gave no id"):
            await app.receive_webhook("own", {"x-pass": "please"}, b"[1]")
        with pytest.raises(InvalidDelivery, match="isn't UTF-8"):
            await app.receive_webhook("own", {"x-pass": "please", "x-id": "8"}, b"\xff")


async def test_what_is_no_json_is_a_body_all_the_same(make_app):
    @job(
        on=[
            Webhook("form", verify=lambda headers, body: "1"),
            Webhook("form", verify=lambda h, b: "1", match={"a": 1}),
        ]
    )
    async def takes(ctx, delivery: Delivery):
        with pytest.raises(ValueError, match="Expecting value"):
            delivery.json()
        return delivery.body

    async with make_app(takes) as app:
        [run] = (await app.receive_webhook("form", {}, "a=1&b=ü".encode())).runs
        assert await app.result(run) == "a=1&b=ü"


async def test_a_payload_that_does_not_fit(make_app):
    @job(on=Webhook("own", verify=lambda headers, body: "1"))
    async def takes(ctx, amount: int):
        return amount

    async with make_app(takes) as app:
        [run] = (await app.receive_webhook("own", {}, b"5")).runs
        assert (await app.finished(run)).status == Status.INVALID_PAYLOAD


async def test_one_that_is_too_large():
    works = taker(Webhook("own", secret=SECRET))
    async with Durable("memory:", jobs=works, max_value_bytes=1000) as app:
        with pytest.raises(TooLarge, match="webhook own: 1,001 bytes"):
            await app.receive_webhook("own", {}, b"x" * 1001)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": ""}, "name of a webhook"),
        ({}, r"Webhook\('own'\): secret: is needed"),
        ({"secret": []}, "secret: is needed"),
        ({"secret": ""}, "secret: is needed|secret: expected"),
        ({"secret": "not base64!"}, r"Webhook\('own'\): secret: expected base64"),
        ({"secret": 5}, "secret"),
        ({"secret": [5]}, "secret: expected base64 .* got int"),
        (
            {"secret": SECRET, "verify": "md5"},
            "verify: expected a function or one of 'stripe', 'github', 'standard'",
        ),
        ({"secret": SECRET, "verify": len}, "secret: is for a scheme"),
        ({"secret": SECRET, "tolerance": 0}, r"tolerance: must be more than zero"),
        ({"secret": SECRET, "match": []}, r"Webhook\('own'\): match"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(InvalidOption, match=message) as caught:
        Webhook(**{"name": "own"} | given)
    assert SECRET not in str(caught.value)


def test_it_does_not_show_its_secret():
    hook = Webhook("own", secret=SECRET)
    assert SECRET not in repr(hook)
    assert SECRET not in repr(taker(hook))


async def test_a_dollar_in_it_is_no_tag(make_app):
    """Those mark what JSON has not, in stored values; a stranger's are data."""
    body = json.dumps({"id": "1", "y": {"$": "evil"}, "z": {"$": "tuple", "v": [1]}}).encode()

    @job
    async def waits(ctx: Context):
        return (await ctx.wait_for_event("it", "webhook.own", timeout="1d"))["data"]

    async with make_app([taker(Webhook("own", secret=SECRET)), waits]) as app:
        run = await app.trigger(waits)
        await app.clock.advance(1)
        headers = standard(body, app.clock.now()) | {"$": "tuple", "v": "1", "X-Gitlab-Token": SECRET}
        sent = await app.receive_webhook("own", headers, body)
        assert await app.result(run) == json.loads(body)
        output = await app.result(sent.runs[0])
        assert output["data"] == json.loads(body)
        assert (output["headers"]["$"], "x-gitlab-token" in output["headers"]) == ("tuple", False)


async def test_what_would_be_too_large_once_stored():
    works = taker(Webhook("own", verify=lambda headers, body: "1"))
    async with Durable("memory:", jobs=works, max_value_bytes=1000) as app:
        for headers, body in (({}, b"\x01" * 400), ({"x": "y" * 1000}, b"")):
            with pytest.raises(TooLarge, match="webhook own"):
                await app.receive_webhook("own", headers, body)
        assert (await app.list_runs()).runs == []


@pytest.mark.parametrize(("headers", "body"), [({}, "text"), (None, b""), ([("a", "b")], b"")])
async def test_wrong_arguments_are_named(headers, body):
    async with Durable("memory:", jobs=taker(Webhook("own", secret=SECRET))) as app:
        with pytest.raises(InvalidOption, match="body: expected bytes|headers: expected a dict"):
            await app.receive_webhook("own", headers, body)
