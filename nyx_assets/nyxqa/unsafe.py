"""Pictures and pages that nothing should be asked about: by the address of the page, and by a judge who looks at them."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from nyx_assets.nyxqa.asking import object_schema, pair_on_document, request_with
from nyx_assets.nyxqa.judging import HIGHEST_SCORE, LOWEST_SCORE, MAX_SCORE_TOKENS
from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair, asked_about
from nyx_assets.nyxqa.replies import score_in
from resources.vlm import Reply, Request


def unsafe_source(pairs: Sequence[Pair], most: float, means: Means) -> Iterator[Outcome]:
    """Pairs of pages whose host is in at most `most` of the recipe's blocked domains, itself or as a part of one."""
    every_blocked = frozenset(means.blocked_domains)
    for pair in pairs:
        host = host_of(means.url_by_doc.get(pair.chunk["doc_id"]))
        parts = host.split(".")
        domains = [".".join(parts[start:]) for start in range(len(parts))]
        blocked = [domain for domain in domains if domain in every_blocked]
        if len(blocked) > most:
            reason = f"the page's host {host!r} is in the blocked domain(s) {', '.join(blocked)}"
            yield Objection("unsafe_source", reason, float(len(blocked)))
        else:
            yield pair


def host_of(url: str | None) -> str:
    """Host name of an address, in small letters; "" where there is none."""
    try:
        return (urlsplit(url or "").hostname or "").rstrip(".")
    except ValueError:  # [ without ]
        return ""


def judged_unsafe(pairs: Sequence[Pair], most: float, means: Means) -> Iterator[Outcome]:
    """Pairs whose pictures the judge scores at most `most`, from 1 (harmless) to 10.

    Only pairs with a picture in the question or its chunk are asked about. A judge that refuses, as models do that may
    not look at such pictures, has not approved: the pair goes under the rule refused_call.
    """

    def request_of(pair: Pair) -> Request | None:
        if not pair.question.images and not pair.document.images:
            return None
        return request_with(
            "judge_safety.v1",
            pair_on_document(pair.chunk["segments"], pair.question, pair.answer),
            schema=object_schema(
                reason={"type": "string"},
                score={"type": "integer", "minimum": LOWEST_SCORE, "maximum": HIGHEST_SCORE},
            ),
            max_output_tokens=MAX_SCORE_TOKENS,
            temperature=0.0,
            seed=means.seed,
        )

    def outcome(pair: Pair, reply: Reply) -> Outcome:
        score = score_in(reply.text, lowest=LOWEST_SCORE, highest=HIGHEST_SCORE)
        return pair if score.value <= most else Objection("judged_unsafe", score.reason, score.value)

    return asked_about("judge", pairs, request_of, outcome, means=means, check="judged_unsafe")
