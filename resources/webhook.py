"""Telling people: one message, posted as JSON to an address that they chose (Slack, Mattermost and others read `text`)."""

import json
import urllib.request
from http.client import HTTPException

TIMEOUT_SECONDS = 10.0


def post(url: str, text: str, **facts: str) -> None:
    """Post {"text": text, **facts}. Raises OSError if the server cannot be reached, refuses, or answers no HTTP."""
    body = json.dumps({"text": text, **facts}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read()
    except HTTPException as error:
        raise OSError(f"its answer is no HTTP ({type(error).__name__}: {error})") from error
