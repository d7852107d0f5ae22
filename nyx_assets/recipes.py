"""Every number that the pipeline depends on, by named recipe, each with its source.

A recipe is data: changing one makes the assets that depend on the changed section stale, and no others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from resources.settings import Settings
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
class QARecipe:
    """How question-answer pairs are written and sorted out."""

    pairs_per_chunk: int
    max_output_tokens: int
    temperature: float
    min_question_words: int
    max_answer_words: int
    num_options: int
    dev_share: float
    test_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningRecipe:
    """Which retrieved chunks become hard negatives: ranks first_rank to first_rank + depth - 1, at most `keep`."""

    first_rank: int
    depth: int
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecipe:
    """How the generator tries what was retrieved."""

    top_k: int
    window_length: int
    window_stride: int
    min_grade: float
    """Quality threshold: a window whose answer grades at or above it has answered."""
    max_negatives: int
    max_queries_per_crawl: int
    """Training queries of a crawl partition that are tried, drawn by hash of qa_id."""
    max_output_tokens: int
    temperature: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecipe:
    """What is measured."""

    recall_at: tuple[int, ...]
    ndcg_at: int
    rag_window: int
    """Retrieved documents shown to the generator."""
    max_rag_queries: int
    """Test queries answered by the generator, drawn by hash of qa_id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecipe:
    """One whole run of the asset graph."""

    name: str
    backbone: str
    """Name known to training_kernels.backbones, a folder, or a hub name; its tokenizer counts the tokens of chunks."""
    seed: int
    pictures: PictureRecipe
    chunking: ChunkingRecipe
    qa: QARecipe
    mining: MiningRecipe
    pretraining: str
    """Name of the training recipe (training_kernels/recipes.py) behind pretrained_checkpoint."""
    feedback: FeedbackRecipe
    finetuning: str
    """Name of the training recipe behind finetuned_checkpoint."""
    evaluation: EvaluationRecipe


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
        chunking=ChunkingRecipe(
            max_text_tokens=200,  # section 3.2; pictures are not counted
            max_images=5,  # published code: chunks with more are dropped; ours are cut instead
        ),
        qa=QARecipe(
            pairs_per_chunk=5,  # section 3.2: at most five
            max_output_tokens=4096,  # published code
            temperature=0.0,  # published code: greedy
            min_question_words=4,  # Choice: silent; shorter questions name nothing to retrieve
            max_answer_words=5,  # section 3.2: answers are refined to at most 5 words
            num_options=4,  # section 3.2
            dev_share=0.1,  # Choice: the paper draws 600 pairs; ours are whole pages, so a share
            test_share=0.1,
        ),
        mining=MiningRecipe(first_rank=1, depth=10, keep=5),  # section 3.2: best five of the top 10 that are not gold
        pretraining="nyx_paper",
        feedback=FeedbackRecipe(
            top_k=30,  # published code; section 3.3 leaves K open
            window_length=1,  # published code
            window_stride=1,  # published code
            min_grade=0.5,  # Choice: section 3.3 asks for a threshold and gives none; half the tokens right
            max_negatives=3,  # published code
            max_queries_per_crawl=1_000_000,
            max_output_tokens=256,  # published code
            temperature=0.0,  # Choice: the code samples at 0.1 without a seed; ours is repeatable
        ),
        finetuning="nyx_paper",
        evaluation=EvaluationRecipe(
            recall_at=(1, 5, 10), ndcg_at=10, rag_window=1, max_rag_queries=1_000_000
        ),  # section 4: top-1
    )


def tiny() -> PipelineRecipe:
    """The embedded default: no GPU, no key, minutes on two cores. Every deviation from the paper is for that."""
    paper = nyx_paper()
    return replace(
        paper,
        name="tiny",
        backbone="tiny-qwen2.5-vl",
        qa=replace(
            paper.qa, max_output_tokens=1024, dev_share=0.15, test_share=0.2
        ),  # a small crawl has few pages to hold out
        pretraining="tiny",
        feedback=replace(paper.feedback, top_k=8, max_queries_per_crawl=200, max_output_tokens=64),
        finetuning="tiny_feedback",
        evaluation=replace(paper.evaluation, max_rag_queries=300),
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


RECIPES: dict[str, Callable[[], PipelineRecipe]] = {"tiny": tiny, "smoke": smoke, "nyx_paper": nyx_paper}


def pipeline_recipe(name: str) -> PipelineRecipe:
    """The recipe of that name. Raises ConfigError with the known names."""
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is unknown; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()


def recipe_of(settings: Settings) -> PipelineRecipe:
    """The recipe that the settings name, with their backbone in place of its own if they give one."""
    recipe = pipeline_recipe(settings.recipe)
    return replace(recipe, backbone=settings.backbone) if settings.backbone else recipe
