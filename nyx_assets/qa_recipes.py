"""How NyxQA is written and sorted out: chunks asked about, kinds of question, checks; by named recipe, with sources.

Sections are those of arXiv 2510.17354 v1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from training_kernels.errors import ConfigError

Stratum = Literal["text_only", "single_image", "multi_image"]
"""Kind of a chunk by the number of its pictures: none, one, or more."""
STRATA: tuple[Stratum, ...] = get_args(Stratum)

QuestionType = Literal[
    "fact", "number", "comparison", "cause", "visual_attribute", "counting", "reading", "picture_comparison"
]

QACheckName = Literal[
    "empty",
    "unsafe_source",
    "personal_data",
    "names_its_source",
    "unresolved_picture",
    "question_too_short",
    "question_too_long",
    "repeats_itself",
    "other_language",
    "repeated_pair",
    "answer_too_long",
    "leaks_its_answer",
    "not_found_again",
    "answered_closed_book",
    "answered_without_picture",
    "judged_unfit",
    "judged_unsafe",
    "bad_options",
    "options_not_solved",
]
QA_CHECK_NAMES: tuple[QACheckName, ...] = get_args(QACheckName)

CANNOT_BE_MARKED: frozenset[QACheckName] = frozenset({"empty", "bad_options"})
"""Every kept pair has words and options, because what reads `filtered_qa` needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRecipe:
    """Which chunks the teacher is asked about: each with the chance of its stratum, decided by its own hash.

    A chunk's fate depends on no other chunk, so pages that are added change nothing for those that were there.
    """

    rate_by_stratum: tuple[tuple[Stratum, float], ...]

    def __post_init__(self) -> None:
        strata = tuple(stratum for stratum, _ in self.rate_by_stratum)
        if strata != STRATA or any(not 0 <= rate <= 1 for _, rate in self.rate_by_stratum):
            raise ConfigError(
                f"rate_by_stratum must give each of {', '.join(STRATA)}, in this order, a rate from 0 to 1, got "
                f"{self.rate_by_stratum}"
            )

    @classmethod
    def every_chunk(cls) -> "SamplingRecipe":
        return cls(rate_by_stratum=tuple((stratum, 1.0) for stratum in STRATA))

    @classmethod
    def towards(
        cls, wanted: Mapping[Stratum, float], *, found: Mapping[Stratum, float], share_of_chunks: float
    ) -> "SamplingRecipe":
        """Rates that draw `share_of_chunks` of a corpus with the shares `found`, in the shares `wanted`.

        Raises ConfigError where a stratum has too few chunks for its wanted share.
        """
        return cls(
            rate_by_stratum=tuple(
                (stratum, share_of_chunks * wanted[stratum] / found[stratum] if found[stratum] else 0.0)
                for stratum in STRATA
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QAVariant:
    """One way to ask the teacher about a chunk: the prompt `write_<name>_qa.v1`, and what its questions may hold."""

    name: Stratum
    chunk_pictures: tuple[int, int]
    """Fewest and most pictures of a chunk that is asked about in this way."""
    question_pictures: tuple[int, int]
    """Fewest and most pictures that a question may show; one with another number is rejected."""
    pairs_per_chunk: int
    question_types: tuple[QuestionType, ...]

    def __post_init__(self) -> None:
        (fewest, most), (least, limit) = self.chunk_pictures, self.question_pictures
        if not (0 <= fewest <= most and 0 <= least <= limit and least <= most) or self.pairs_per_chunk < 1:
            raise ConfigError(
                f"variant {self.name} asks for {self.pairs_per_chunk} pairs with {least} to {limit} pictures about chunks "
                f"of {fewest} to {most} pictures; needed are ranges in order, pictures that the chunk can have, and at "
                "least 1 pair"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingRecipe:
    """How the teacher writes pairs."""

    variants: tuple[QAVariant, ...]
    max_output_tokens: int
    temperature: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QACheck:
    """One check that a pair must pass, under the name of the rule that refuses it (nyxqa/filters.py)."""

    name: QACheckName
    threshold: float
    """In the unit of the check: words, mentions, a rank, a grade, a score."""
    on_failure: Literal["reject", "mark"] = "reject"
    """"mark" keeps the pair, with the rule's name in its column `marks`."""

    def __post_init__(self) -> None:
        if self.name not in QA_CHECK_NAMES:
            raise ConfigError(f"QA check {self.name!r} is unknown; known: {', '.join(QA_CHECK_NAMES)}")
        if self.on_failure == "mark" and self.name in CANNOT_BE_MARKED:
            raise ConfigError(f"a pair without what {self.name} asks for cannot be kept; set on_failure='reject'")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTripRecipe:
    """Who searches for the chunk of a question, and where; the rank that counts is the threshold of `not_found_again`."""

    scope: Literal["partition", "corpus"]
    """Chunks that are searched: those of the pair's crawl partition, or of all.

    Of its partition, a pair's fate hangs on nothing that lands later, so that deliveries can be made in any order and
    again, and what was trained on stays as it was. Of the whole corpus, the rank is the one that a user would see, and
    does not depend on how large a delivery happens to be; every landing tries all pairs again (no call is paid twice).
    """
    retriever: str
    """A name that nyx_assets/miners.py lists."""

    def __post_init__(self) -> None:
        if self.scope not in ("partition", "corpus"):
            raise ConfigError(f"a round trip goes through the 'partition' or the 'corpus', got {self.scope!r}")


BACKFILLED_ROUND_TRIP = RoundTripRecipe(scope="partition", retriever="bm25")
"""The default: for homes that are filled delivery by delivery, without an accelerator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QARecipe:
    """How question-answer pairs are written and sorted out."""

    sampling: SamplingRecipe
    writing: WritingRecipe
    round_trip: RoundTripRecipe
    blocked_domains: tuple[str, ...]
    """Domains whose pages nothing is asked about, for the check `unsafe_source`; a top-level domain counts as one."""
    checks: tuple[QACheck, ...]
    """In the order in which a pair meets them; the first that refuses it gives rule and reason."""
    dev_share: float
    test_share: float

    def __post_init__(self) -> None:
        names = [check.name for check in self.checks]
        if len(set(names)) < len(names) or not CANNOT_BE_MARKED.issubset(names):
            raise ConfigError(
                f"QA checks must be different ones, {' and '.join(sorted(CANNOT_BE_MARKED))} among them, got {names}"
            )


ADULT_DOMAINS = ("adult", "porn", "sex", "sexy", "xxx")
"""Top-level domains that ICANN delegated for sexual content. Choice: names that say so themselves; lists of single sites
age in weeks and have millions of lines, so they are for whoever crawls to bring (NYX_BLOCKED_DOMAINS)."""

PAPER_SHARES: dict[Stratum, float] = {"text_only": 0.6329, "single_image": 0.2985, "multi_image": 0.0686}
"""Of the paper's corpus, as its published code has them."""

TEXT_QUESTIONS: tuple[QuestionType, ...] = ("fact", "number", "comparison", "cause")
PICTURE_QUESTIONS: tuple[QuestionType, ...] = ("visual_attribute", "counting", "reading")


def paper_qa() -> QARecipe:
    """The published pipeline's: no answer is verified, no question is tried."""
    return QARecipe(
        # Section 3.2 and the published code: 10,000 of 46,741 chunks, in the shares that the corpus has.
        sampling=SamplingRecipe.towards(PAPER_SHARES, found=PAPER_SHARES, share_of_chunks=10_000 / 46_741),
        writing=WritingRecipe(
            variants=(
                QAVariant(
                    name="text_only",
                    chunk_pictures=(0, 0),
                    question_pictures=(0, 0),
                    pairs_per_chunk=5,  # section 3.2: at most five
                    question_types=TEXT_QUESTIONS,
                ),
                QAVariant(
                    name="single_image",
                    chunk_pictures=(1, 5),
                    question_pictures=(0, 5),  # published code: a question may name pictures, and need not
                    pairs_per_chunk=5,
                    question_types=(*TEXT_QUESTIONS, *PICTURE_QUESTIONS),
                ),
                QAVariant(
                    name="multi_image",  # published code: a second call about chunks of two pictures and more
                    chunk_pictures=(2, 5),
                    question_pictures=(2, 5),
                    pairs_per_chunk=5,
                    question_types=("picture_comparison", "counting", "visual_attribute", "cause"),
                ),
            ),
            max_output_tokens=4096,  # published code
            temperature=0.0,  # published code: greedy
        ),
        blocked_domains=ADULT_DOMAINS,  # the paper filters nothing, so no check below asks for them, nor for personal data
        round_trip=BACKFILLED_ROUND_TRIP,  # the paper tries no question, so no check below asks for it
        checks=(
            QACheck(name="empty", threshold=1),
            QACheck(name="names_its_source", threshold=0),  # section 3.2, by phrases instead of two substrings
            QACheck(name="unresolved_picture", threshold=0),  # published code, step 7
            QACheck(name="answer_too_long", threshold=5),  # section 3.2: answers are refined to at most 5 words
            QACheck(name="bad_options", threshold=4),  # section 3.2: four options
        ),
        dev_share=0.1,  # Choice: the paper draws 600 pairs; ours are whole pages, so a share
        test_share=0.1,
    )


def nyx_qa() -> QARecipe:
    """Ours for real models: the paper's numbers, with a reason at each deviation."""
    paper = paper_qa()
    text_only, single_image, multi_image = paper.writing.variants
    return replace(
        paper,
        # every chunk: whoever brings a crawl wants all of it covered, and `nyx plan` says first what it costs
        sampling=SamplingRecipe.every_chunk(),
        writing=replace(
            paper.writing,
            variants=(
                text_only,
                # one picture at most: questions of several have a prompt of their own, and no call asks for both
                replace(single_image, question_pictures=(0, 1)),
                replace(multi_image, pairs_per_chunk=3),  # the same chunk has up to five pairs from single_image
            ),
        ),
        # the whole corpus, as the index that is asked later: a partition is as large as its delivery, so rank 50 among its
        # 82 chunks says nothing and among 792 little. It costs no good question: of 330 review questions that textbook
        # authors wrote, BM25 finds the page within rank 50 of 4,950 chunks for 326, and of its own partition for 328. By
        # words, for no embedding trained on these pairs should choose them, and an untrained one finds less.
        round_trip=RoundTripRecipe(scope="corpus", retriever="bm25"),
        checks=(
            # free ones first: every pair refused here saves the calls below
            QACheck(name="empty", threshold=1),
            QACheck(name="unsafe_source", threshold=0),  # a data set is handed on; nobody wants to be surprised by it
            # somebody's number in a question trains a search engine to find people; finds nothing in 1,263 benchmark
            # questions, and in the 2.9 million characters of 467 real pages three mailboxes, all of offices
            QACheck(name="personal_data", threshold=0),
            QACheck(name="names_its_source", threshold=0),
            QACheck(name="unresolved_picture", threshold=0),
            QACheck(name="question_too_short", threshold=4),  # shorter ones name nothing to look for
            # of 933 questions of four multi-hop benchmarks the longest has 38 words
            QACheck(name="question_too_long", threshold=60),
            QACheck(name="repeats_itself", threshold=2),  # three times the same three words is a loop
            QACheck(name="other_language", threshold=0.01),  # refuses none of 1,263 English benchmark questions
            QACheck(name="repeated_pair", threshold=1),
            QACheck(name="answer_too_long", threshold=5),
            # after refinement, which may bring the words of the question into the answer
            QACheck(name="leaks_its_answer", threshold=0),
            # a question that words alone do not lead back within 50 names too little of its chunk; marked, because
            # what BM25 misses is what an embedding is trained for
            QACheck(name="not_found_again", threshold=50, on_failure="mark"),
            # the paper's own generator answers half of its test closed-book: such pairs measure no retrieval
            QACheck(name="answered_closed_book", threshold=0.8),
            # marked: a picture that the text also describes is still a good query, and a bad test of seeing
            QACheck(name="answered_without_picture", threshold=0.8, on_failure="mark"),
            QACheck(name="judged_unfit", threshold=7),  # of 10; the paper verifies nothing
            # judged_unsafe (threshold 4) is off: one more call for each pair with pictures, and hosted models refuse to
            # describe such pictures by themselves; for a crawl of the open web, add it here
            QACheck(name="bad_options", threshold=4),
            QACheck(name="options_not_solved", threshold=1),  # the right option must be the one that the chunk tells
        ),
    )


def tiny_qa() -> QARecipe:
    """Ours without what makes no sense where the offline stand-in plays the VLMs."""
    ours = nyx_qa()
    return replace(
        ours,
        writing=replace(ours.writing, max_output_tokens=1024),
        round_trip=BACKFILLED_ROUND_TRIP,
        # The stand-in reads captions and sees no picture, so what it answers without one says nothing.
        checks=tuple(check for check in ours.checks if check.name != "answered_without_picture"),
        dev_share=0.15,  # a small crawl has few pages to hold out
        test_share=0.2,
    )
