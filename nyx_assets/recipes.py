"""Every number that the pipeline depends on, by named recipe, each with its source.

A recipe is data: changing one makes the assets that depend on the changed section stale, and no others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from nyx_assets.qa_recipes import QARecipe, nyx_qa, paper_qa, tiny_qa
from resources.fetch_limits import FetchLimits
from resources.settings import Settings
from resources.vector_index import IndexSpec
from training_kernels.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRecipe:
    """Which pictures are taken."""

    max_bytes: int
    max_pixels: int
    """Width times height above which a picture counts as a decompression bomb and is not decoded."""
    min_side_pixels: int
    """A picture with a shorter side is an icon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingRecipe:
    """How a page is cut."""

    max_text_tokens: int
    max_images: int

    def __post_init__(self) -> None:
        if self.max_text_tokens < 8 or self.max_images < 1:
            raise ConfigError(
                f"a chunk needs room for 8 text tokens and 1 picture, got max_text_tokens={self.max_text_tokens}, "
                f"max_images={self.max_images}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeduplicationRecipe:
    """From when on pages, chunks and pictures count as near copies."""

    min_page_similarity: float
    """Estimated Jaccard similarity of their runs of five words."""
    min_chunk_similarity: float
    max_picture_distance: int
    """Differing bits of 256 of the perceptual hash."""
    max_pages_of_a_thing: int
    """A picture or chunk on more pages is furniture and ties no pages together."""

    def __post_init__(self) -> None:
        if not (0 < self.min_page_similarity <= 1 and 0 < self.min_chunk_similarity <= 1):
            raise ConfigError(
                f"similarities are above 0 and at most 1, got min_page_similarity={self.min_page_similarity}, "
                f"min_chunk_similarity={self.min_chunk_similarity}"
            )
        if not 0 <= self.max_picture_distance < 16 or self.max_pages_of_a_thing < 1:
            raise ConfigError(
                f"pictures are found up to 15 differing bits, and a thing stands on a page, got max_picture_distance="
                f"{self.max_picture_distance}, max_pages_of_a_thing={self.max_pages_of_a_thing}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningRecipe:
    """Which retrieved chunks become hard negatives: ranks first_rank to first_rank + depth - 1, at most `keep`.

    Whatever the recipe, a chunk that is golden, near-duplicate of golden or that holds the answer is refused.
    """

    name: str
    miner: str
    """A name that nyx_assets/miners.py lists."""
    first_rank: int
    depth: int
    keep: int
    margin: float
    """A chunk that scores above this share of the positive's score is refused; infinite to refuse none for it."""
    judge: Literal["none", "vlm"]
    """Whether the judge has to fail to find the answer in a chunk before it counts as a negative."""

    def __post_init__(self) -> None:
        if min(self.first_rank, self.depth, self.keep) < 1 or not self.margin > 0:
            raise ConfigError(
                f"mining {self.name!r}: first_rank, depth and keep are 1 or more and margin is above 0, got "
                f"{self.first_rank}, {self.depth}, {self.keep} and {self.margin}"
            )


MINING_RECIPES = {
    recipe.name: recipe
    for recipe in (
        MiningRecipe(
            name="paper",
            miner="bm25",
            first_rank=1,
            depth=10,  # section 3.2: best five of the top 10 that are not golden
            keep=5,
            margin=float("inf"),  # silent
            judge="none",
        ),
        MiningRecipe(
            name="published",
            miner="bm25",
            first_rank=11,  # published code: ranks 11 to 20, the first five
            depth=10,
            keep=5,
            margin=float("inf"),
            judge="none",
        ),
        MiningRecipe(
            name="guarded",
            miner="bm25",
            first_rank=1,
            depth=50,  # Choice: room for what the margin refuses; NVIDIA's and PixelRAG's recipes look as deep
            keep=5,
            margin=0.95,  # arXiv:2407.15831, section 4.2: 95 % of the positive's score
            judge="none",
        ),
        MiningRecipe(name="judged", miner="bm25", first_rank=1, depth=50, keep=5, margin=0.95, judge="vlm"),
    )
}
"""By name. The paper mines with mmE5 11B; Choice: with BM25, which needs no GPU; NYX_MINER names another miner."""


def mining_recipe(name: str) -> MiningRecipe:
    """The mining recipe of that name. Raises ConfigError with the known names."""
    if name not in MINING_RECIPES:
        raise ConfigError(f"mining recipe {name!r} is unknown; known: {', '.join(sorted(MINING_RECIPES))}")
    return MINING_RECIPES[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShare:
    """How much of the public sets whose name fits a pattern is trained on."""

    match: str
    """Of the set's name, as a shell pattern."""
    cap: int
    """Most examples of one set, drawn by seed."""
    weight: float
    """Times that an example stands in an epoch; of a fraction, the seed decides which examples stand once more."""

    def __post_init__(self) -> None:
        if self.cap < 1 or self.weight <= 0:
            raise ConfigError(
                f"a share has a cap of 1 or more and a weight above 0, got {self.cap} and {self.weight} for {self.match!r}; "
                "remove the share to leave its sets out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureRecipe:
    """What of the public sets is trained on beside NyxQA; the first share that fits a set counts."""

    name: str
    shares: tuple[SetShare, ...]
    max_negatives: int
    """Of an example; the first that the set names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecipe:
    """How the generator tries what was retrieved, and what becomes of a window by its grade.

    Whatever the recipe, a negative is a window that failed, and options never enter the query that retrieves.
    """

    name: str
    top_k: int
    window_length: int
    window_stride: int
    grade: Literal["token_f1", "exact_match", "exact_option"]
    """exact_option: 1 if the answer is the right option; of a question without options, 1 if it is the golden answer."""
    shows_options: bool
    """Whether the generator reads the options below the question."""
    positive: Literal["first_answered", "best"]
    """The first window that answered, or the first of those with the best grade."""
    min_grade: float
    """Quality threshold: a window whose answer grades at or above it has answered; one below has failed."""
    max_negatives: int
    early_stop: bool
    """Whether a query's windows are asked in turn, no further than the last that can become positive or negative."""
    leaves_out_closed_book: bool
    """Whether a question that the generator answers without any document is not used; it is marked in any case."""
    max_queries_per_crawl: int
    """Training queries of a crawl partition that are tried, drawn by hash of qa_id."""
    max_output_tokens: int
    temperature: float

    def __post_init__(self) -> None:
        if not 1 <= self.window_stride <= self.window_length <= self.top_k:
            raise ConfigError(
                f"feedback {self.name!r}: windows need 1 <= stride <= length <= top_k, got {self.window_stride}, "
                f"{self.window_length} and {self.top_k}"
            )
        if not 0 < self.min_grade <= 1 or self.max_negatives < 0:
            raise ConfigError(
                f"feedback {self.name!r}: min_grade is above 0 and at most 1, max_negatives 0 or more, got "
                f"{self.min_grade} and {self.max_negatives}"
            )


FEEDBACK_PAPER = FeedbackRecipe(
    name="paper",
    top_k=30,  # published code; section 3.3 leaves K open
    window_length=1,  # published code
    window_stride=1,  # published code
    grade="exact_option",  # published code: NyxQA's windows are graded by the right option's text, 0 or 1
    shows_options=True,  # Choice: as in evaluation, whose accuracy is over the options
    positive="first_answered",  # section 3.3
    min_grade=0.5,  # Choice: section 3.3 asks for a threshold and gives none; the grade here is 0 or 1
    max_negatives=3,  # published code
    early_stop=True,  # Choice: the same preferences by fewer calls
    leaves_out_closed_book=True,  # Choice: silent; what needs no document says nothing of one
    max_queries_per_crawl=1_000_000,
    max_output_tokens=256,  # published code
    temperature=0.0,  # Choice: the code samples at 0.1 without a seed; ours is repeatable
)
"""Source: section 3.3 of arXiv 2510.17354 v1."""

FEEDBACK_RECIPES = {
    recipe.name: recipe
    for recipe in (
        FEEDBACK_PAPER,
        replace(
            FEEDBACK_PAPER,
            name="published",
            positive="best",
            min_grade=0.01,  # any overlap counts (score > 0); no F1 of two answers of up to 100 words is smaller
            early_stop=False,  # every window is asked
            leaves_out_closed_book=False,
        ),
        replace(
            FEEDBACK_PAPER,
            name="guarded",
            grade="token_f1",
            shows_options=False,  # Choice: one guess in four would pass for a document that helped
        ),
    )
}
"""By name: as the paper says, as the published code does (but for negatives that answered), and ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsRecipe:
    """How often feedback goes round: retrieve, try, train; each round with the checkpoint of the one before."""

    number: int
    """The most rounds there are."""
    min_gain: float
    """Of nDCG on the dev questions, against the checkpoint that the round retrieved with: below it, no further round.
    -1 goes through all rounds whatever they gain."""
    preferences: Literal["joined", "replacing"]
    """joined: a round trains on the preferences of all rounds so far, from where the first one started. replacing: on its
    own alone, from the checkpoint of the round before."""

    def __post_init__(self) -> None:
        if self.number < 1 or not -1 <= self.min_gain < 1:
            raise ConfigError(
                f"feedback takes 1 round or more and min_gain is from -1 to below 1, got {self.number} and {self.min_gain}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionRecipe:
    """The baselines that read a picture's caption in its place: BM25, and an embedder of texts."""

    max_pictures_per_crawl: int
    """Pictures of a crawl partition that are captioned, drawn by hash; the others leave no trace."""
    max_output_tokens: int
    embedder: str
    """What reads texts with captions: a retriever that embeds, or sentence-transformers:MODEL or endpoint:MODEL."""

    def __post_init__(self) -> None:
        if self.max_pictures_per_crawl < 0 or self.max_output_tokens < 1:
            raise ConfigError(
                f"captions need max_pictures_per_crawl of 0 or more and max_output_tokens of 1 or more, got "
                f"{self.max_pictures_per_crawl} and {self.max_output_tokens}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecipe:
    """What is measured."""

    recall_at: tuple[int, ...]
    ndcg_at: int
    rag_window: int
    """Retrieved documents shown to the generator."""
    max_queries_per_modality: int
    """Held-out questions that are measured of each group: golden chunks with no, one and several pictures."""
    max_rag_queries: int
    """Test queries answered by the generator, drawn by hash of qa_id."""
    max_dim_loss: float
    """Share of the best score that a narrower or coarser embedding may lose and still be recommended for the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecipe:
    """When a checkpoint goes live. The dev questions decide; the test questions can only veto, so nothing is tuned on them."""

    min_gain: float
    """Of the gate's metric against what is live: the whole interval on the dev questions has to lie above it."""
    may_not_lose_to: tuple[str, ...]
    """Retrievers against which a loss with its whole interval below zero, on dev or test, keeps a checkpoint back."""

    def __post_init__(self) -> None:
        known = ("promoted", "pretrained", "untrained", "bm25")
        if not 0 <= self.min_gain < 1 or not set(self.may_not_lose_to) <= set(known):
            raise ConfigError(
                f"min_gain is from 0 to below 1 and may_not_lose_to names some of {', '.join(known)}, got {self.min_gain} "
                f"and {', '.join(self.may_not_lose_to)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRecipe:
    """How the index holds embeddings, and how far back it can be rolled."""

    max_dim: int
    """The widest Matryoshka dim of the checkpoint that is at most this is indexed."""
    index_type: str
    metric: str
    """Both by the names that resources/vector_index.py lists."""
    kept_versions: int
    """Versions kept beside the live one, to roll back to."""

    def __post_init__(self) -> None:
        IndexSpec(dim=self.max_dim, index_type=self.index_type, metric=self.metric)
        if self.kept_versions < 1:
            raise ConfigError(
                f"kept_versions must be 1 or more, or nothing can be rolled back, got {self.kept_versions}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecipe:
    """One whole run of the asset graph."""

    name: str
    backbone: str
    """Name known to training_kernels.backbones, a folder, or a hub name; its tokenizer counts the tokens of chunks."""
    seed: int
    pictures: PictureRecipe
    fetching: FetchLimits
    """How hard the web is asked for pictures; no table's content depends on it."""
    chunking: ChunkingRecipe
    deduplication: DeduplicationRecipe
    qa: QARecipe
    mining: MiningRecipe
    mixture: MixtureRecipe
    pretraining: str
    """Name of the training recipe (training_kernels/recipes.py) behind pretrained_checkpoint."""
    feedback: FeedbackRecipe
    rounds: RoundsRecipe
    finetuning: str
    """Name of the training recipe behind finetuned_checkpoint."""
    finetuning_from: Literal["pretrained", "base"]
    """pretrained: pretrained_checkpoint goes on with the preferences alone. base: the untrained backbone is trained on
    what pretrained_checkpoint was trained on and the preferences together."""
    captions: CaptionRecipe
    evaluation: EvaluationRecipe
    gate: GateRecipe
    index: IndexRecipe


def nyx_paper() -> PipelineRecipe:
    """The published pipeline's numbers, by section of arXiv 2510.17354 v1."""
    return PipelineRecipe(
        name="nyx_paper",
        backbone="Qwen/Qwen2.5-VL-3B-Instruct",  # section 4
        seed=42,  # the published code's seed for its sample and split
        pictures=PictureRecipe(
            max_bytes=50_000_000,  # Choice: silent; a web photograph has 0.1 to 10 MB
            max_pixels=50_000_000,  # Choice: silent; 150 MB decoded in RGB, above any camera picture on a page
            min_side_pixels=32,  # Choice: silent; below one visual token (28) plus a margin nothing is readable
        ),
        fetching=FetchLimits(  # Choice: all of it; the published code asks once, for 10 s, as fast as it can
            max_in_flight=16,  # 16 pictures of 50 MB stay under 1 GB
            max_in_flight_per_host=2,
            seconds_between_requests=0.25,
            connect_seconds=10.0,
            silence_seconds=15.0,
            request_seconds=60.0,  # 50 MB at 7 Mbit/s
            max_redirects=5,  # RFC 9309, section 2.3.1.2, for robots.txt; pictures need fewer
            max_attempts=3,
            first_pause_seconds=1.0,
            longest_pause_seconds=60.0,
            retry_failures_after_seconds=86_400.0,  # RFC 9309, section 2.4: a robots.txt counts for a day at most
        ),
        chunking=ChunkingRecipe(
            max_text_tokens=200,  # section 3.2; pictures are not counted
            max_images=5,  # published code: chunks with more are dropped; ours are cut instead
        ),
        deduplication=DeduplicationRecipe(
            # Choice: the paper removes none. On 467 real pages, pages crawled again have 0.57 to 1 in common and
            # siblings of one template at most 0.47; a page too many in a cluster costs nothing, one too few is a leak.
            min_page_similarity=0.5,
            min_chunk_similarity=0.7,  # Choice: most sentences shared, so that both answer the same questions
            # Choice: saved again or resized, 99 of 100 pictures differ in 8 bits or fewer; drawings that differ in one
            # detail that a question may ask about start at 12.
            max_picture_distance=8,
            max_pages_of_a_thing=10,  # Choice: a portrait of a blog's author stands on 5 of the real pages
        ),
        qa=paper_qa(),
        mining=mining_recipe("paper"),
        mixture=MixtureRecipe(
            name="nyx_paper",
            # published code: 30,000 of each set, ours by seed and not the first; appendix A: 1 negative, the sampler's pick
            shares=(SetShare(match="*", cap=30_000, weight=1.0),),
            max_negatives=5,  # Choice: as many as are mined for NyxQA
        ),
        pretraining="nyx_paper",
        feedback=FEEDBACK_RECIPES["paper"],
        rounds=RoundsRecipe(
            number=1,  # section 3.3
            min_gain=0.005,  # Choice: a round costs as many calls as the first; half a point is the least worth having
            # Choice: what failed once stays wrong, and a training from the same start has no earlier one to unlearn
            preferences="joined",
        ),
        finetuning="nyx_paper",
        finetuning_from="pretrained",  # section 3.3
        captions=CaptionRecipe(
            max_pictures_per_crawl=1_000_000,
            max_output_tokens=256,  # Choice: three sentences and the text of a sign; the published code allows 4,096
            # Choice: real everywhere, and the fairest to pictures: same weights, so what it lacks is the picture itself
            embedder="pretrained",
        ),
        evaluation=EvaluationRecipe(
            recall_at=(1, 5, 10),
            ndcg_at=10,
            rag_window=1,  # section 4: top-1
            max_queries_per_modality=200,  # published code: 200 each with no, one and several pictures
            max_rag_queries=1_000_000,
            max_dim_loss=0.01,  # Choice: table 3 loses 1 % of accuracy from 2048 to 1024 dims and 5 % to 512
        ),
        gate=GateRecipe(
            min_gain=0.0,  # Choice: any gain that chance does not explain
            # Choice: BM25 is for the record. Hybrid search adds its hits, so a retriever that finds other chunks than words
            # find is of use even where it finds fewer; and the tiny backbone never reads well enough to beat it.
            may_not_lose_to=("promoted", "pretrained", "untrained"),
        ),
        index=IndexRecipe(
            max_dim=2048,  # table 3: the full width of the paper's backbone is the best
            index_type="FLAT",  # Choice: exact; 50,000 chunks take a fraction of a second
            metric="COSINE",  # section 3.3
            kept_versions=2,  # Choice: one to roll back to while the other is turned into the next version
        ),
    )


def nyx() -> PipelineRecipe:
    """Ours for real models: the paper's numbers where nothing better is known, a reason at each deviation."""
    return replace(
        nyx_paper(),
        name="nyx",
        qa=nyx_qa(),
        mining=mining_recipe("guarded"),
        pretraining="nyx",
        feedback=FEEDBACK_RECIPES["guarded"],
        finetuning="nyx",
    )


def nyx_published() -> PipelineRecipe:
    """The paper's numbers, and what the published code does where it departs from them in mining, training and feedback."""
    return replace(
        nyx_paper(),
        name="nyx_published",
        mining=mining_recipe("published"),
        pretraining="nyx_published",
        feedback=FEEDBACK_RECIPES["published"],
        finetuning="nyx_published",
        finetuning_from="base",
    )


def small_gpu() -> PipelineRecipe:
    """`nyx` on a GPU of 8 to 24 GB: the smallest known backbone, or any of up to 2B weights by NYX_BACKBONE."""
    return replace(
        nyx(),
        name="small_gpu",
        backbone="HuggingFaceTB/SmolVLM-256M-Instruct",  # Choice: its weights, 1 GB in float32, leave room on every such GPU
        pretraining="small_gpu",
        finetuning="small_gpu",
    )


def cpu() -> PipelineRecipe:
    """`small_gpu` without a GPU: two trainings, each overnight. Servers play the VLMs."""
    start = small_gpu()
    return replace(
        start,
        name="cpu",
        pretraining="cpu",
        # Choice: 500 steps of 32 take 16,000 examples; preferences beyond cost calls and are never trained on
        feedback=replace(start.feedback, max_queries_per_crawl=16_000),
        finetuning="cpu",
    )


def tiny() -> PipelineRecipe:
    """The embedded default: no GPU, no key, minutes on two cores. Every deviation from the paper is for that."""
    paper = nyx_paper()
    return replace(
        paper,
        name="tiny",
        backbone="tiny-qwen2.5-vl",
        qa=tiny_qa(),
        pretraining="tiny",
        feedback=replace(FEEDBACK_RECIPES["guarded"], top_k=8, max_queries_per_crawl=200, max_output_tokens=64),
        finetuning="tiny_feedback",
        evaluation=replace(paper.evaluation, max_queries_per_modality=1_000_000, max_rag_queries=300),
    )


def smoke() -> PipelineRecipe:
    """`tiny` with a few steps of training and a few tries: whether a home and a machine are wired right, in seconds."""
    small = tiny()
    return replace(
        small,
        name="smoke",
        pretraining="smoke",
        feedback=replace(small.feedback, top_k=4, max_queries_per_crawl=8),
        finetuning="smoke_feedback",
        evaluation=replace(small.evaluation, max_rag_queries=5),
    )


RECIPES: dict[str, Callable[[], PipelineRecipe]] = {
    "tiny": tiny,
    "smoke": smoke,
    "nyx": nyx,
    "nyx_paper": nyx_paper,
    "nyx_published": nyx_published,
    "small_gpu": small_gpu,
    "cpu": cpu,
}


def pipeline_recipe(name: str) -> PipelineRecipe:
    """The recipe of that name. Raises ConfigError with the known names."""
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is unknown; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()


def recipe_of(settings: Settings) -> PipelineRecipe:
    """The recipe that the settings name, with their backbone in place of its own if they give one."""
    recipe = pipeline_recipe(settings.recipe)
    if settings.mining:
        recipe = replace(recipe, mining=mining_recipe(settings.mining))
    if settings.miner:
        # rows name the model that mined them, so the server's model is part of the miner's name
        served = f":{settings.embedder.model}" if settings.miner == "endpoint" and settings.embedder else ""
        recipe = replace(recipe, mining=replace(recipe.mining, miner=settings.miner + served))
    if settings.caption_embedder:
        recipe = replace(recipe, captions=replace(recipe.captions, embedder=settings.caption_embedder))
    if settings.blocked_domains:
        blocked = (*recipe.qa.blocked_domains, *settings.blocked_domains)
        recipe = replace(recipe, qa=replace(recipe.qa, blocked_domains=blocked))
    if settings.rounds:
        recipe = replace(recipe, rounds=replace(recipe.rounds, number=settings.rounds))
    return replace(recipe, backbone=settings.backbone) if settings.backbone else recipe
