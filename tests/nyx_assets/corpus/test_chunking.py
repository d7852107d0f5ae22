"""Chunks: bounded, exactly counted, lossless, and cut where a reader would cut."""

import random

import pytest

from nyx_assets.corpus.chunking import split_into_chunks
from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.obelics import WebPage, read_pages
from nyx_assets.recipes import ChunkingRecipe, tiny
from nyx_assets.records import CHUNKED_CORPUS
from training_kernels.tokenizer import TINY, load_text_tokenizer

RECIPE = tiny().chunking
IMAGE = "f" * 64
NASTY = [
    *(
        "word ",
        "Tea",
        "it's",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        ". ",
        "! ",
        "...",
        "Dr. ",
        "1234",
        "e\u0301",
        "\u200d",
        "\x1c",
    ),
    *(
        "\x85",
        "\u00a0",
        "\u3000",
        "。",
        "好",
        "下一步",
        "”",
        "<|image_pad|>",
        "👩‍👩‍👧",
        "한",
        "#",
        " Be",
        "\x00",
        "xylophon",
        "A prose sentence of some length stands here, with a comma. Another one follows it! ",
    ),
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_text_tokenizer(TINY)


class MarksStarts:
    """The tiny tokenizer with a token before every text that starts with a letter: counts never add up."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def count(self, texts):
        counts = self._tokenizer.count(texts)
        return [count + text[:1].isalpha() + (count > 9) for text, count in zip(texts, counts, strict=True)]


def document(*parts: str, doc_id: str = "d") -> dict:
    """A row of crawl_documents; parts are texts, or pictures written as '@name'."""
    segments = [
        {"kind": "image", "text": None, "image": part[1:]}
        if part.startswith("@")
        else {"kind": "text", "text": part, "image": None}
        for part in parts
    ]
    return {"doc_id": doc_id, "segments": segments}


def parts_of(chunk: dict) -> list[str]:
    return [segment["text"] if segment["image"] is None else "@" + segment["image"] for segment in chunk["segments"]]


def assert_faithful(row: dict, chunks: list[dict], tokenizer, recipe: ChunkingRecipe) -> None:
    """All that must hold between a page and its chunks, recounted from what is stored."""
    segments = [segment for chunk in chunks for segment in chunk["segments"]]
    assert "".join(s["text"] or "" for s in segments) == "".join(s["text"] or "" for s in row["segments"])
    assert [s["image"] for s in segments if s["image"]] == [s["image"] for s in row["segments"] if s["image"]]
    assert [chunk["position"] for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        texts = [segment["text"] for segment in chunk["segments"] if segment["text"] is not None]
        assert sum(tokenizer.count(texts)) == chunk["text_tokens"] <= recipe.max_text_tokens
        num_images = len(chunk["segments"]) - len(texts)
        assert num_images == chunk["num_images"] <= recipe.max_images
        assert num_images or "".join(texts).strip()
        assert chunk["modality"] == ("text" if not num_images else "mixed" if "".join(texts).strip() else "image")
        assert set(chunk) == set(CHUNKED_CORPUS.names)


def chunks_of(*parts: str, tokenizer, recipe: ChunkingRecipe = RECIPE) -> list[list[str]]:
    row = document(*parts)
    chunks = list(split_into_chunks([row], tokenizer=tokenizer, recipe=recipe))
    assert_faithful(row, chunks, tokenizer, recipe)
    return [parts_of(chunk) for chunk in chunks]


def nasty_document(rng: random.Random) -> dict:
    weights = [rng.random() ** 3 for _ in NASTY]
    parts: list[str] = []
    for _ in range(rng.randrange(1, 9)):
        parts += [f"@{rng.randrange(9)}"] * rng.choice([0, 0, 1, 2, 7])
        parts.append("x" + "".join(rng.choices(NASTY, weights, k=rng.randrange(1, 250))))
    return document(*parts)


@pytest.mark.parametrize("is_additive", [True, False])
def test_any_page_survives_being_cut_under_any_recipe_and_tokenizer(tokenizer, is_additive):
    counter = tokenizer if is_additive else MarksStarts(tokenizer)
    for seed in range(150):
        rng = random.Random(seed)
        recipe = ChunkingRecipe(max_text_tokens=rng.choice([60, 90, 200]), max_images=rng.choice([1, 2, 5]))
        row = nasty_document(rng)
        assert_faithful(row, list(split_into_chunks([row], tokenizer=counter, recipe=recipe)), counter, recipe)


def test_what_fits_one_chunk_stays_as_it_is(tokenizer):
    parts = ["One.\n\nTwo.", "@a", " Caption \n", "Next text", "@b"]
    assert chunks_of(*parts, tokenizer=tokenizer) == [parts]


def test_the_limit_itself_still_fits(tokenizer):
    text = "tea " * 300
    tokens = tokenizer.count([text])[0]
    assert len(chunks_of(text, tokenizer=tokenizer, recipe=ChunkingRecipe(max_text_tokens=tokens, max_images=1))) == 1
    assert (
        len(chunks_of(text, tokenizer=tokenizer, recipe=ChunkingRecipe(max_text_tokens=tokens - 1, max_images=1))) == 2
    )


def paragraph(num_sentences: int, name: str) -> str:
    return " ".join(f"The {name} number {n} stands here." for n in range(num_sentences)) + "\n\n"


def test_a_well_filled_chunk_ends_with_its_paragraph(tokenizer):
    first, second, third = paragraph(18, "lamp"), paragraph(12, "goat"), paragraph(3, "hill")
    assert 0.6 * 200 <= tokenizer.count([first])[0] < 200
    assert chunks_of(first + second + third, tokenizer=tokenizer) == [[first], [second + third]]


def test_a_chunk_with_little_in_it_is_filled_with_whole_sentences(tokenizer):
    first, second = paragraph(10, "lamp"), paragraph(22, "goat")
    assert 0.3 * 200 < tokenizer.count([first])[0] < 0.6 * 200
    (one,), (two,) = chunks_of(first + second, tokenizer=tokenizer)
    assert one.startswith(first + "The goat")
    assert one.endswith("stands here.")
    assert two.startswith(" The goat")
    assert tokenizer.count([one])[0] > 180


def test_a_picture_stays_with_the_caption_behind_it(tokenizer):
    before, caption = paragraph(20, "lamp"), paragraph(5, "goat")
    assert 0.6 * 200 <= tokenizer.count([before])[0] < 200
    assert chunks_of(before, "@goat", caption, tokenizer=tokenizer) == [[before], ["@goat", caption]]


def test_a_picture_is_not_parted_from_the_first_sentence_behind_it(tokenizer):
    before = paragraph(6, "lamp")
    sentence = "So " + "very " * 160 + "long.\n\n"
    assert tokenizer.count([before])[0] < 0.3 * 200 < 160 <= tokenizer.count([sentence])[0] <= 200
    assert chunks_of(before, "@goat", sentence, tokenizer=tokenizer) == [[before], ["@goat", sentence]]


def test_pictures_beyond_the_limit_start_new_chunks_and_the_last_keep_their_caption(tokenizer):
    pictures = [f"@{n}" for n in range(12)]
    chunks = chunks_of("Head.", *pictures, "Caption.", tokenizer=tokenizer)
    assert chunks == [["Head.", *pictures[:5]], pictures[5:10], [*pictures[10:], "Caption."]]
    assert chunks_of("@a", "@b", "One.", "@c", "@d", "@e", "@f", "Two.", tokenizer=tokenizer) == [
        ["@a", "@b", "One."],
        ["@c", "@d", "@e", "@f", "Two."],
    ]


def test_a_huge_word_and_a_script_without_gaps_are_cut_into_full_chunks(tokenizer):
    for text in ("donaudampfschiff" * 700, "好吃的面条要先加水再煮" * 200, "ก็ทำไปแล้วนะครับ" * 150):
        chunks = chunks_of(text, tokenizer=tokenizer)
        tokens = [tokenizer.count(chunk)[0] for chunk in chunks]
        assert min(tokens[:-1]) > 180
        assert len(chunks) <= sum(tokens) / 180 + 1


def test_sentences_without_gap_end_chunks(tokenizer):
    chunks = chunks_of("先把水烧开，再放盐。" * 90, tokenizer=tokenizer)
    assert len(chunks) > 3
    assert all(chunk[0].endswith("。") for chunk in chunks)


def test_whitespace_longer_than_a_chunk_makes_no_empty_chunk_and_costs_no_word(tokenizer):
    row = document("Begin." + "\n \t" * 2000 + "End.")
    chunks = list(split_into_chunks([row], tokenizer=tokenizer, recipe=RECIPE))
    texts = [part for chunk in chunks for part in parts_of(chunk)]
    assert all(text.strip() for text in texts)
    assert "".join("".join(texts).split()) == "Begin.End."
    assert all(chunk["text_tokens"] <= 200 for chunk in chunks)


def test_ids_depend_on_page_position_and_content_alone(tokenizer):
    rows = [document("Same. " * 200, doc_id="a"), document("@x", "Same. " * 200, doc_id="b")]
    both = list(split_into_chunks(rows, tokenizer=tokenizer, recipe=RECIPE))
    alone = list(split_into_chunks(rows[1:], tokenizer=tokenizer, recipe=RECIPE))
    assert [chunk for chunk in both if chunk["doc_id"] == "b"] == alone
    ids = [chunk["chunk_id"] for chunk in both]
    assert len(set(ids)) == len(ids) > 4


def test_pages_stream_through_in_order(tokenizer):
    num_drawn = 0

    def pages():
        nonlocal num_drawn
        for number in range(400):
            num_drawn += 1
            yield document(f"Page {number}. " * 900, doc_id=str(number))

    stream = split_into_chunks(pages(), tokenizer=tokenizer, recipe=RECIPE)
    assert next(stream)["doc_id"] == "0"
    assert num_drawn < 200
    rest = [chunk["doc_id"] for chunk in stream]
    assert list(dict.fromkeys(rest)) == [str(number) for number in range(400)]


def test_all_real_pages_are_cut_without_loss_into_chunks_that_are_not_needlessly_small(shared_data, tokenizer):
    rows = []
    for delivery in find_deliveries(shared_data / "interleaved").deliveries:
        for page in read_pages(delivery):
            assert isinstance(page, WebPage)
            parts = [part if isinstance(part, str) else f"@{part.reference}" for part in page.parts]
            rows.append(document(*parts, doc_id=f"{page.source_file} {page.source_row}"))
    chunks_by_page: dict[str, list[dict]] = {row["doc_id"]: [] for row in rows}
    for chunk in split_into_chunks(rows, tokenizer=tokenizer, recipe=RECIPE):
        chunks_by_page[chunk["doc_id"]].append(chunk)
    for row in rows:
        assert_faithful(row, chunks_by_page[row["doc_id"]], tokenizer, RECIPE)
    tokens = [chunk["text_tokens"] for chunks in chunks_by_page.values() for chunk in chunks]
    fewest = sum(
        max(1, -(-sum(chunk["text_tokens"] for chunk in chunks) // RECIPE.max_text_tokens))
        for chunks in chunks_by_page.values()
    )
    assert len(tokens) < 1.25 * fewest
