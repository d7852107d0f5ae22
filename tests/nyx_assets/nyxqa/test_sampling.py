"""Which chunks are asked about follows from each chunk's own id, in the shares that the recipe wants."""

from collections import Counter

import pyarrow as pa
import pytest

from nyx_assets.nyxqa.sampling import calls_for, sample_chunks
from nyx_assets.qa_recipes import PAPER_SHARES, STRATA, SamplingRecipe, nyx_qa, paper_qa
from nyx_assets.records import SAMPLED_CHUNKS
from training_kernels.errors import ConfigError

IMAGES_BY_STRATUM = {"text_only": 0, "single_image": 1, "multi_image": 3}


def chunks(**number_by_stratum) -> list[dict]:
    return [
        {"chunk_id": f"{stratum}-{i}", "num_images": IMAGES_BY_STRATUM[stratum]}
        for stratum, number in number_by_stratum.items()
        for i in range(number)
    ]


def sampled(rows, recipe, seed=5) -> list[dict]:
    return list(sample_chunks(rows, recipe=recipe, variants=nyx_qa().writing.variants, seed=seed))


def drawn(rows, recipe, seed=5) -> set[str]:
    return {row["chunk_id"] for row in sampled(rows, recipe, seed) if row["reason"] is None}


def test_the_papers_shares_come_out_of_a_corpus_with_other_shares():
    found = {"text_only": 0.5, "single_image": 0.3, "multi_image": 0.2}
    recipe = SamplingRecipe.towards(PAPER_SHARES, found=found, share_of_chunks=0.3)
    rows = chunks(text_only=20_000, single_image=12_000, multi_image=8_000)
    counts = Counter(name.rpartition("-")[0] for name in drawn(rows, recipe))
    total = counts.total()
    assert total == pytest.approx(12_000, rel=0.03)
    for stratum, share in PAPER_SHARES.items():  # of 12,000 draws each share has a standard deviation below 0.005
        assert counts[stratum] / total == pytest.approx(share, abs=0.015)


def test_the_paper_draws_ten_thousand_of_its_own_corpus():
    rates = dict(paper_qa().sampling.rate_by_stratum)
    assert sum(rates[stratum] * PAPER_SHARES[stratum] * 46_741 for stratum in STRATA) == pytest.approx(9_998, rel=1e-3)


def test_pages_that_are_added_change_nothing_for_those_that_were_there():
    recipe = SamplingRecipe(rate_by_stratum=(("text_only", 0.4), ("single_image", 0.7), ("multi_image", 0.2)))
    before = chunks(text_only=300, single_image=50, multi_image=20)
    added = [{"chunk_id": f"new-{i}", "num_images": i % 4} for i in range(40)]
    with_added = drawn([*added, *before], recipe)
    assert drawn(before, recipe) == {name for name in with_added if not name.startswith("new")}
    assert drawn(before, recipe) != drawn(before, recipe, seed=6)


def test_a_chunk_that_is_not_asked_about_says_why_and_one_that_is_names_its_calls():
    recipe = SamplingRecipe(rate_by_stratum=(("text_only", 0.0), ("single_image", 1.0), ("multi_image", 1.0)))
    rows = [*chunks(text_only=1, single_image=1, multi_image=1), {"chunk_id": "many", "num_images": 9}]
    text, single, multi, many = sampled(rows, recipe)
    assert text["reason"].startswith("not_drawn: ")
    assert (single["variants"], multi["variants"]) == (["single_image"], ["single_image", "multi_image"])
    assert many["reason"].startswith("no_variant: ")
    assert [text["variants"], many["variants"]] == [[], []]
    table = pa.Table.from_pylist([text, single, multi, many], schema=SAMPLED_CHUNKS)
    assert table.to_pylist() == [text, single, multi, many]


def test_calls_come_in_the_order_of_chunks_and_of_the_recipe():
    rows = chunks(multi_image=2, text_only=2)
    calls = calls_for(
        rows,
        variants_by_chunk={"text_only-1": ["text_only"], "multi_image-0": ["multi_image", "single_image"]},
        variants=nyx_qa().writing.variants,
    )
    assert [(chunk["chunk_id"], variant.name) for chunk, variant in calls] == [
        ("multi_image-0", "single_image"), ("multi_image-0", "multi_image"), ("text_only-1", "text_only"),
    ]  # fmt: skip


def test_a_stratum_with_too_few_chunks_for_its_share_is_refused_with_its_rate():
    with pytest.raises(ConfigError, match="single_image"):
        SamplingRecipe.towards(
            PAPER_SHARES, found={"text_only": 0.9, "single_image": 0.05, "multi_image": 0.05}, share_of_chunks=0.5
        )
