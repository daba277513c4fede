"""Post a message to a Slack channel, and after a crash find out whether it is there already.

Slack takes no idempotency key, so a try that doesn't know what became of an earlier one looks for its
message in the channel's history: as metadata it carries the run and the step that it is from.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from durable_lite import AbortRun, Connection, Context, Retry, RetryAfter, current, job

__all__ = ["Message", "Posted", "connect", "post_message"]

TOKEN, URL = "SLACK_BOT_TOKEN", "SLACK_API_URL"  # environment variables
TIMEOUT = 20  # seconds for one request
SETTLE = 2.0  # seconds after the first try until its message should be in the history
SKEW = 300.0  # seconds by which this machine's clock may be ahead of Slack's
LATER = 30.0  # seconds, where a 429 doesn't say how many

# An hour or so. Being told to wait counts as an attempt, too.
PATIENT = Retry(max_attempts=20, min_delay="1s", max_delay="5m")

# Slack's trouble, which passes. What else it answers, such as "invalid_auth", another try won't change.
PASSING = {
    "fatal_error", "internal_error", "org_login_required", "request_timeout", "service_unavailable",
    "team_added_to_org",
}  # fmt: skip
LIMITED = {"rate_limited", "ratelimited"}


@dataclass
class Message:
    """What to post. `channel` is an id, such as C0123456789: the history isn't found by name."""

    channel: str
    text: str


@dataclass
class Posted:
    """Where the message is: `ts` names it within its channel."""

    channel: str
    ts: str


def connect() -> AsyncWebClient:
    """A client for the token of the environment."""
    # Async, as a cancel and a stop reach a request that is awaited, and not one that a thread has sent.
    # Without the SDK's retries: they sleep in memory, and post again when a connection breaks.
    url = os.environ.get(URL, AsyncWebClient.BASE_URL)
    return AsyncWebClient(os.environ[TOKEN], url, timeout=TIMEOUT, retry_handlers=[])


# A worker without the token knows the connection's name only, and leaves these runs to one that has it.
slack: Connection | str = Connection("slack", connect) if TOKEN in os.environ else "slack"


@job(requires=[slack], retry=PATIENT)
async def post_message(ctx: Context, message: Message) -> Posted:
    """One step; a real job does something before and after it."""
    if not re.fullmatch("[CDG][A-Z0-9]+", message.channel):
        raise AbortRun(f"channel: expected an id such as C0123456789, got {message.channel!r}")
    return await ctx.step("post", post, message)


async def post(message: Message) -> Posted:
    """Post it, unless an earlier try has, which failed or was killed before it heard of that."""
    ctx, first = current(), False
    client: AsyncWebClient = ctx.connection("slack")
    mark = {"run": ctx.run.id, "step": "post"}

    async def begin() -> float:
        nonlocal first
        first = True
        return time.time()

    # Stored before anything is sent, and executed at the first try only: any other gets the stored time.
    since = await ctx.step("begin", begin)
    if not first:
        await ctx.sleep_until("settle", since + SETTLE)
        if ts := await find(client, message.channel, mark, since - SKEW):
            return Posted(message.channel, ts)
    metadata = {"event_type": "durable_lite_step", "event_payload": mark}
    sent = await answer(
        client.chat_postMessage(channel=message.channel, text=message.text, metadata=metadata)
    )
    return Posted(sent["channel"], sent["ts"])


async def find(client: AsyncWebClient, channel: str, mark: dict[str, str], since: float) -> str | None:
    """The `ts` of the message in the channel that has this mark, if there is one."""
    cursor: str | None = None
    while True:
        page = await answer(
            client.conversations_history(
                channel=channel, oldest=f"{since:.6f}", include_all_metadata=True, limit=200, cursor=cursor
            )
        )
        for one in page["messages"]:
            if (one.get("metadata") or {}).get("event_payload") == mark:
                return str(one["ts"])
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return None


async def answer(request: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
    """What Slack answers; a refusal as what is to be done about it. A broken connection raises as it is."""
    try:
        return await request
    except SlackApiError as error:
        raise verdict(error) from None


def verdict(error: SlackApiError) -> Exception:
    """Not before a while, again as the job's `Retry` says, or never."""
    response = error.response
    status = getattr(response, "status_code", None)  # without: the body wasn't what it said it was
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    method = str(getattr(response, "api_url", "Slack")).rpartition("/")[2]
    if status == 429 or code in LIMITED:
        asked = response.headers.get("Retry-After", "")
        return RetryAfter(max(1, int(asked)) if asked.isdigit() else LATER, f"{method}: {code or status}")
    if code is None or code in PASSING or status is None or status >= 500:
        return ConnectionError(f"{method}: {code or status or 'no JSON'}")
    needed = f", needs {data['needed']}" if isinstance(data, dict) and "needed" in data else ""
    return AbortRun(f"{method}: {code}{needed}")
