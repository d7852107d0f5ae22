"""How many calls each asset that asks a VLM has ahead: counted from its inputs, or sampled from what is known of others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from statistics import fmean, pstdev
from typing import Any

from nyx_assets.captions.captioning import caption_request, drawn_pictures, pictures_of
from nyx_assets.corpus.chunking import split_into_chunks
from nyx_assets.corpus.deliveries import Delivery
from nyx_assets.corpus.obelics import WebPage, read_pages
from nyx_assets.feedback.saving import foreseen_calls
from nyx_assets.nyxqa.generation import requests_for
from nyx_assets.nyxqa.sampling import calls_for, sample_chunks
from nyx_assets.past_calls import PastCalls, answered_before
from nyx_assets.planned_embeddings import EmbeddingPlanner
from nyx_assets.planning import NOTHING, Basis, PlannedCalls, Range
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.rounds import Round, rounds_of
from resources.home import Home
from resources.settings import ROLES, Role
from resources.vlm import Request
from resources.vlm_replies import ReplyFolder
from resources.vlm_tokens import likely_text_tokens, picture_tokens
from training_kernels.tokenizer import load_text_tokenizer

Row = Mapping[str, Any]

SAMPLED_PAGES = 200
"""Pages read of a delivery that is not cut yet: the calls of a page vary about as much as their mean, so the mean of so
many is known to within 15 %."""
NOT_LOST = Range(0.8, 0.98, 1.0)
"""Choice: pages and pictures that a crawl's dirt leaves; a chunk that loses its pictures is asked about in fewer ways."""
TOKENS_A_PICTURE = Range(60, 300, 1300)
"""Choice: the middle is that of the real pages' pictures (320 x 240 to 640 x 480) by Qwen2.5-VL's count."""
TEXT_ERROR = Range(0.8, 1.0, 1.3)
"""Choice: how far four characters a token may be from what a tokenizer makes of web text."""
SAMPLE_ERROR = Range(0.8, 1.0, 1.25)
"""Choice: how far the mean of other partitions may be from that of a new one."""
TOKENS_A_PAIR = 45
"""Choice: JSON around a question of 15 words and an answer of 3."""

CAPTION_PROMPT_TOKENS = 150
"""Of the instructions before the picture."""
CAPTION_OUTPUT_TOKENS = Range(15, 60, 200)
"""Choice: one to three sentences, and the text of a sign."""

ROLE_BY_CHECK: dict[str, Role] = {
    "answer_too_long": "teacher",
    "answered_closed_book": "generator",
    "answered_without_picture": "generator",
    "judged_unfit": "judge",
    "judged_unsafe": "judge",
    "bad_options": "teacher",
    "options_not_solved": "generator",
}
"""Checks of pairs that ask a VLM (nyx_assets/nyxqa/filters.py)."""
CALLS_A_DRAFT = Range(0.05, 0.6, 1.0)
"""Choice: a check asks about the drafts that those before it let through; the first about nearly all, the last about
some."""
KEPT_SHARE = Range(0.1, 0.4, 0.9)
"""Choice: drafts that pass every check, where no partition has been through them."""
SHOWN_TOKENS = Range(200, 600, 2500)
"""Choice: a prompt and one chunk of at most 200 text tokens with up to five pictures, where nothing better is known."""
SHARE_SHOWN = Range(0.6, 0.9, 1.2)
"""Choice: a check or an answer shows the same chunk as the teacher was shown, under a shorter prompt, and a question."""
CHECK_OUTPUT_TOKENS = Range(5, 30, 150)
"""Choice: a short answer or a sentence with a score, in JSON."""
NEW_WINDOWS = Range(0.0, 0.2, 1.0)
"""Choice: of what a further feedback round asks, what no round before it was answered. None where no round follows; the
second round of the tiny recipe on the sample crawl came to 0.16."""
ANSWER_OUTPUT_TOKENS = Range(2, 10, 64)
"""Choice: a few words; a model that explains itself is cut."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans asset after asset; `needs` says what a run would make again."""

    home: Home
    recipe: PipelineRecipe
    replies: ReplyFolder
    model_by_role: Mapping[str, str]
    """Of the roles, and of the further generators by name."""
    needs: Callable[[str, str | None], bool]
    past: Mapping[tuple[str, str], PastCalls]
    """By asset and model."""
    funnel: Mapping[str, Mapping[str, Any]]
    """What all stored funnels come to, by check."""
    embeddings: EmbeddingPlanner | None = None
    """Of the embeddings server, if there is one."""

    def planned(self, deliveries: Sequence[Delivery]) -> Iterator[PlannedCalls]:
        """What every asset has ahead, in the order in which they are made."""
        pairs, shown = Range.exactly(0), SHOWN_TOKENS
        for delivery in deliveries:
            if self.needs("chunk_captions", delivery.key) and self.recipe.captions.max_pictures_per_crawl:
                yield self._captions(delivery)
            drafts = Range.exactly(0)
            if self.needs("raw_qa", delivery.key):
                calls = self._raw_qa(delivery)
                yield calls
                drafts = (calls.calls + Range.exactly(calls.kept)) * self._drafts_a_call()
                shown = calls.input_tokens.over(calls.calls) * SHARE_SHOWN if calls.calls.low else shown
            else:
                drafts = Range.exactly(self._num_rows("raw_qa", delivery.key))
            if self.needs("filtered_qa", delivery.key):
                yield from self._filtered_qa(delivery.key, drafts, shown)
                if self.embeddings is not None:
                    yield from self.embeddings.filtered_qa(delivery, drafts)
                kept = drafts * self._kept_share()
            else:
                kept = Range.exactly(self._num_rows("filtered_qa", delivery.key))
            pairs += kept
            if self.needs("feedback_preferences", delivery.key):
                yield self._feedback(delivery.key, kept, shown)
            for one in rounds_of(self.recipe.rounds.number)[1:]:
                if self.needs(one.preferences, delivery.key):
                    yield self._further_feedback(one, delivery.key, kept, shown)
        if self.recipe.mining.judge == "vlm" and self.needs("negatives", None):
            yield self._negatives(pairs, shown)
        are_written = not any(self.needs("filtered_qa", delivery.key) for delivery in deliveries)
        if self.embeddings is not None:
            yield from self.embeddings.negatives(deliveries, pairs * self._train_share)
            for delivery in deliveries:
                yield from self.embeddings.caption_embeddings(delivery)
            held_out = pairs * (1 - self._train_share)
            yield from self.embeddings.scores(
                Range.exactly(self._num_questions("dev", "test")) if are_written else held_out
            )
        if self.needs("rag_scores", None):
            test = pairs * self.recipe.qa.test_share
            if are_written:
                test = Range.exactly(self._num_questions("test"))
            queries = test.at_most(self.recipe.evaluation.max_rag_queries)
            for generator in ("generator", *(name for name in self.model_by_role if name not in ROLES)):
                yield self._answers("rag_scores", None, generator, queries * NUM_RAG_RETRIEVERS, shown)

    def _raw_qa(self, delivery: Delivery) -> PlannedCalls:
        if self.needs("chunked_corpus", delivery.key):
            return self._raw_qa_sampled(delivery)
        chunks = self.home.tables.read("chunked_corpus", partition=delivery.key).to_pylist()
        kept, calls, text_tokens, tokens_of_pictures = 0, 0, 0.0, 0
        for request in self._requests(chunks, self._drawn_before(delivery.key)):
            if self.replies.peek(request.digest(self.model_by_role["teacher"])) is not None:
                kept += 1
                continue
            calls += 1
            text_tokens += likely_text_tokens(request)
            tokens_of_pictures += picture_tokens(request, self.home.images)
        return self._calls(
            "raw_qa",
            delivery.key,
            "teacher",
            Range.exactly(calls),
            "counted",
            kept=kept,
            input_tokens=TEXT_ERROR * text_tokens + Range(0.2, 1.0, 1.1) * tokens_of_pictures,  # servers may scale down
            output_tokens=self._written_tokens() * calls,
        )

    def _raw_qa_sampled(self, delivery: Delivery) -> PlannedCalls:
        """From the calls that a sample of the delivery's pages would be."""
        calls_a_page, tokens_a_page, pictures_a_page = [], [], []
        for chunks in chunks_by_page(delivery, self.recipe):
            requests = list(self._requests(chunks))
            calls_a_page.append(len(requests))
            tokens_a_page.append(sum(map(likely_text_tokens, requests)))
            pictures_a_page.append(
                sum(len(message.content.images) for request in requests for message in request.messages)
            )
        number = delivery.num_rows
        calls = spread(calls_a_page, number=number) * NOT_LOST
        return self._calls(
            "raw_qa",
            delivery.key,
            "teacher",
            calls,
            "sampled",
            input_tokens=spread(tokens_a_page, number=number) * NOT_LOST * TEXT_ERROR
            + spread(pictures_a_page, number=number) * NOT_LOST * TOKENS_A_PICTURE,
            output_tokens=self._written_tokens() * calls,
        )

    def _drawn_before(self, partition: str) -> list[Row] | None:
        """The chunks that are drawn, where they stay as they are; None where they are drawn again."""
        if self.needs("sampled_chunks", partition) or self.home.tables.commit("sampled_chunks", partition) is None:
            return None
        rows = self.home.tables.read("sampled_chunks", partition=partition).to_pylist()
        return [row for row in rows if row["variants"]]

    def _requests(self, chunks: Sequence[Row], drawn: Iterable[Row] | None = None) -> Iterator[Request]:
        """What the teacher would be asked about the chunks that the recipe draws, or about those that were drawn."""
        writing = self.recipe.qa.writing
        if drawn is None:
            sampling = self.recipe.qa.sampling
            drawn = sample_chunks(chunks, recipe=sampling, variants=writing.variants, seed=self.recipe.seed)
        variants_by_chunk = {row["chunk_id"]: row["variants"] for row in drawn}
        calls = calls_for(chunks, variants_by_chunk=variants_by_chunk, variants=writing.variants)
        return requests_for(calls, recipe=writing, seed=self.recipe.seed)

    def _captions(self, delivery: Delivery) -> PlannedCalls:
        """A call a picture: counted where the chunks are made, else from the pictures of a sample of pages."""
        recipe, limit = self.recipe.captions, self.recipe.captions.max_pictures_per_crawl
        kept = 0
        basis: Basis = "sampled"
        if self.needs("chunked_corpus", delivery.key):
            a_page = [len(pictures_of(chunks)) for chunks in chunks_by_page(delivery, self.recipe)]
            calls = (spread(a_page, number=delivery.num_rows) * NOT_LOST).at_most(limit)
        else:
            images = pictures_of(self.home.tables.read("chunked_corpus", partition=delivery.key).to_pylist())
            drawn = drawn_pictures(images, recipe=recipe, seed=self.recipe.seed)
            requests = (caption_request(image, recipe=recipe, seed=self.recipe.seed) for image in drawn)
            model = self.model_by_role["teacher"]
            kept = sum(self.replies.peek(request.digest(model)) is not None for request in requests)
            calls, basis = Range.exactly(len(drawn) - kept), "counted"
        return self._calls(
            "chunk_captions",
            delivery.key,
            "teacher",
            calls,
            basis,
            kept=kept,
            input_tokens=calls * (TOKENS_A_PICTURE + Range.exactly(CAPTION_PROMPT_TOKENS)),
            output_tokens=(calls * CAPTION_OUTPUT_TOKENS).at_most(calls.high * recipe.max_output_tokens),
        )

    def _filtered_qa(self, partition: str, drafts: Range, shown: Range) -> Iterator[PlannedCalls]:
        asked = answered_before(self.home, "filtered_qa", partition)
        # what two roles of one model asked counts for the first of them
        asked_before = {role: asked.pop(model, 0) for role, model in self.model_by_role.items()}
        for check in self.recipe.qa.checks:
            role = ROLE_BY_CHECK.get(check.name)
            if role is None:
                continue
            a_draft, basis = self._calls_a_draft(check.name)
            calls = drafts * a_draft
            kept = min(asked_before.get(role, 0), round(calls.likely))
            asked_before[role] = asked_before.get(role, 0) - kept
            yield self._calls(
                "filtered_qa",
                partition,
                role,
                calls.less(kept),
                basis,
                kept=kept,
                input_tokens=calls.less(kept) * shown,
                output_tokens=calls.less(kept) * CHECK_OUTPUT_TOKENS,
            )

    def _feedback(self, partition: str, pairs: Range, shown: Range) -> PlannedCalls:
        feedback = self.recipe.feedback
        queries = (pairs * self._train_share).at_most(feedback.max_queries_per_crawl)
        foreseen = foreseen_calls(self.home, feedback)
        tokens_a_window = shown * feedback.window_length
        kept = min(
            answered_before(self.home, "feedback_preferences", partition).get(self.model_by_role["generator"], 0),
            round((queries * foreseen.asked).likely),
        )
        calls = (queries * foreseen.asked).less(kept)
        return self._calls(
            "feedback_preferences",
            partition,
            "generator",
            calls,
            "sampled" if foreseen.num_sampled else "assumed",
            kept=kept,
            saved=queries * foreseen.saved,
            input_tokens=calls * tokens_a_window,
            output_tokens=calls * ANSWER_OUTPUT_TOKENS,
        )

    def _further_feedback(self, one: Round, partition: str, pairs: Range, shown: Range) -> PlannedCalls:
        """From no call, where the round before gains too little, to as many as the first round."""
        queries = (pairs * self._train_share).at_most(self.recipe.feedback.max_queries_per_crawl)
        calls = queries * foreseen_calls(self.home, self.recipe.feedback).asked * NEW_WINDOWS
        return self._answers(one.preferences, partition, "generator", calls, shown * self.recipe.feedback.window_length)

    def _negatives(self, pairs: Range, shown: Range) -> PlannedCalls:
        mining = self.recipe.mining
        calls = pairs * self._train_share * Range(mining.keep, (mining.keep + mining.depth) / 2, mining.depth)
        return self._answers("negatives", None, "judge", calls, shown)

    def _answers(self, asset: str, partition: str | None, role: str, calls: Range, shown: Range) -> PlannedCalls:
        return self._calls(
            asset,
            partition,
            role,
            calls,
            "assumed",
            input_tokens=calls * shown,
            output_tokens=calls * ANSWER_OUTPUT_TOKENS,
        )

    def _calls(
        self,
        asset: str,
        partition: str | None,
        role: str,
        calls: Range,
        basis: Basis,
        *,
        kept: int = 0,
        saved: Range = NOTHING,
        input_tokens: Range,
        output_tokens: Range,
    ) -> PlannedCalls:
        """The calls, with tokens as past calls of the asset to the model took them where there were enough."""
        past = self.past.get((asset, self.model_by_role[role]))
        if past is not None and past.number >= FEWEST_PAST_CALLS:
            if basis != "counted":
                input_tokens = calls * SAMPLE_ERROR * past.input_tokens
            output_tokens = calls * SAMPLE_ERROR * past.output_tokens
            basis = "sampled" if basis == "assumed" else basis
        return PlannedCalls(
            asset=asset,
            partition=partition,
            role=role,
            calls=calls,
            kept=kept,
            saved=saved,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            basis=basis,
        )

    @property
    def _train_share(self) -> float:
        return 1 - self.recipe.qa.dev_share - self.recipe.qa.test_share

    def _written_tokens(self) -> Range:
        """Of one reply of the teacher."""
        most = max(variant.pairs_per_chunk for variant in self.recipe.qa.writing.variants)
        limit = self.recipe.qa.writing.max_output_tokens
        return Range(TOKENS_A_PAIR, TOKENS_A_PAIR * (1 + most) / 2, 2 * TOKENS_A_PAIR * most).at_most(limit)

    def _drafts_a_call(self) -> Range:
        most = max(variant.pairs_per_chunk for variant in self.recipe.qa.writing.variants)
        rows = self.funnel.get("write")
        if rows is not None and rows["num_calls"]:
            return SAMPLE_ERROR * (self.funnel["read"]["num_in"] / rows["num_calls"])
        return Range(1, (1 + most) / 2, most)

    def _calls_a_draft(self, check: str) -> tuple[Range, Basis]:
        sums = self.funnel
        if check in sums and sums["read"]["num_in"]:
            return SAMPLE_ERROR * (sums[check]["num_calls"] / sums["read"]["num_in"]), "sampled"
        return CALLS_A_DRAFT, "assumed"

    def _kept_share(self) -> Range:
        sums = self.funnel
        last = self.recipe.qa.checks[-1].name
        if last in sums and sums["read"]["num_in"]:
            return (SAMPLE_ERROR * (sums[last]["num_out"] / sums["read"]["num_in"])).at_most(1)
        return KEPT_SHARE

    def _num_questions(self, *splits: str) -> int:
        """Each once, though a page may be in several crawls; their share of all pairs goes by clusters of pages, and is
        known only when they are made."""
        rows = self.home.tables.read("filtered_qa", columns=["qa_id", "split"]).to_pylist()
        return len({row["qa_id"] for row in rows if row["split"] in splits})

    def _num_rows(self, asset: str, partition: str) -> int:
        commit = self.home.commit(asset, partition)
        return commit.num_rows if commit is not None else 0


FEWEST_PAST_CALLS = 20
"""Fewer past calls say too little about the next."""
NUM_RAG_RETRIEVERS = 8
"""No document, the golden chunk, BM25, two that read captions, and the three retrievers that embed
(nyx_assets/evaluation/assets.py)."""


def chunks_by_page(delivery: Delivery, recipe: PipelineRecipe) -> Iterator[list[dict[str, Any]]]:
    """The chunks of pages spread evenly over the first SAMPLED_PAGES squared of a delivery; pictures by their reference."""
    tokenizer = load_text_tokenizer(recipe.backbone)
    stride = max(1, min(delivery.num_rows // SAMPLED_PAGES, SAMPLED_PAGES))
    for page in islice(read_pages(delivery), 0, SAMPLED_PAGES * stride, stride):
        if not isinstance(page, WebPage):
            yield []
            continue
        segments = [
            {"kind": "text", "text": part, "image": None}
            if isinstance(part, str)
            else {"kind": "image", "text": None, "image": part.reference}
            for part in page.parts
        ]
        document = {"doc_id": f"{page.source_file}#{page.source_row}", "segments": segments}
        yield list(split_into_chunks([document], tokenizer=tokenizer, recipe=recipe.chunking))


def spread(values: Sequence[float], *, number: int) -> Range:
    """The sum over `number` pages, from a sample of them: two standard errors to either side, none if it is all of them."""
    if not values:
        return Range.exactly(0)
    share_unseen = max(0.0, 1 - len(values) / number)
    mean, error = fmean(values), 2 * pstdev(values) * sqrt(share_unseen / len(values))
    return Range(max(0.0, mean - error), mean, mean + error) * number
