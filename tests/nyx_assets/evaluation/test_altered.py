"""The control set asks the same with pictures that are other files, and no near copies of the ones they come from."""

import io
import random

import pytest
from PIL import Image, ImageDraw

from nyx_assets.evaluation.altered import KEPT_SIDE, altered, altered_queries
from nyx_assets.near_copies import near_pictures, picture_hash
from nyx_assets.recipes import tiny
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.images import FolderImageStore
from training_kernels.documents import Document, Segment

LIMITS = tiny().pictures


def scene(seed: int, size: tuple[int, int] = (220, 160)) -> Image.Image:
    drawn = random.Random(seed)
    picture = Image.new("RGB", size, tuple(drawn.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(25):
        x, y = drawn.randrange(size[0]), drawn.randrange(size[1])
        pen.ellipse(
            (x, y, x + drawn.randrange(8, 50), y + drawn.randrange(8, 50)), fill=(x % 256, y, drawn.randrange(256))
        )
    return picture


def put(store: FolderImageStore, picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return store.put(file.getvalue(), limits=LIMITS).digest


def pair(qa_id: str, *parts) -> dict:
    return {"qa_id": qa_id, "chunk_id": f"k-{qa_id}", "question": Document.of(*parts).to_rows()}


def test_every_question_with_pictures_gets_copies_in_place_and_the_others_are_left_out(tmp_path):
    store = FolderImageStore(str(tmp_path))
    one, two = (put(store, scene(seed)) for seed in (1, 2))
    pairs = [
        pair("q1", "before", Segment(image=one), "after", Segment(image=two)),
        pair("q2", "words only"),
        pair("q3", Segment(image=one)),
    ]
    rows = list(altered_queries(pairs, store, limits=LIMITS, seed=42))
    assert [(row["qa_id"], row["chunk_id"], len(row["alterations"])) for row in rows] == [
        ("q1", "k-q1", 2),
        ("q3", "k-q3", 1),
    ]
    question = Document.from_rows(rows[0]["question"])
    assert [segment.text for segment in question.segments] == ["before", None, "after", None]
    copies = [*question.images, *Document.from_rows(rows[1]["question"]).images]
    assert len({one, two, *copies}) == 5  # each pair's copy is a file of its own
    assert all(store.exists(copy) for copy in copies)


def test_the_same_seed_gives_the_same_copies_and_another_seed_others(tmp_path):
    store = FolderImageStore(str(tmp_path))
    pairs = [pair("q1", Segment(image=put(store, scene(1))))]
    first, again, other = (list(altered_queries(pairs, store, limits=LIMITS, seed=seed)) for seed in (42, 42, 43))
    assert first == again
    assert first[0]["question"] != other[0]["question"]


def test_a_copy_shows_most_of_the_picture_in_other_colours():
    picture = scene(5)
    data, description = altered(picture, key="42/q/0", min_side=32)
    copy = Image.open(io.BytesIO(data)).convert("RGB")
    for side, whole in zip(copy.size, picture.size, strict=True):
        assert KEPT_SIDE[0] - 0.01 <= side / whole <= KEPT_SIDE[1] + 0.01
    left, top = (int(number.strip(",;")) for number in description.split(" at ")[1].split()[:2])
    box = picture.crop((left, top, left + copy.width, top + copy.height))
    differences = [
        abs(a - b)
        for one, other in zip(box.get_flattened_data(), copy.get_flattened_data(), strict=True)
        for a, b in zip(one, other)
    ]
    assert 3 < sum(differences) / len(differences) < 60
    assert f"cropped to {copy.width} x {copy.height}" in description


def test_brightness_and_saturation_are_what_the_description_says():
    def spread(picture: Image.Image) -> float:
        """Mean distance of the strongest from the weakest channel: brightness and saturation both multiply it."""
        pixels = picture.get_flattened_data()
        return sum(max(pixel) - min(pixel) for pixel in pixels) / len(pixels)

    # not so bright that a channel could be cut off at 255
    dim = scene(8).point(lambda value: 60 + value // 4)
    for key in map(str, range(10)):
        data, description = altered(dim, key=key, min_side=32)
        copy = Image.open(io.BytesIO(data)).convert("RGB")
        numbers = [part.rstrip(",;") for part in description.replace("JPEG quality", "").split()]
        left, top = int(numbers[6]), int(numbers[7])
        brightness, saturation = (float(numbers[numbers.index(name) + 1]) for name in ("brightness", "saturation"))
        box = dim.crop((left, top, left + copy.width, top + copy.height))
        assert spread(copy) / spread(box) == pytest.approx(brightness * saturation, rel=0.12)


def test_copies_are_no_near_copies_by_the_measure_that_splits_are_made_by():
    pictures = [scene(seed) for seed in range(15)]
    copies = [
        Image.open(io.BytesIO(altered(one, key=f"42/{place}/0", min_side=32)[0])) for place, one in enumerate(pictures)
    ]
    hashes = [picture_hash(one) for one in (*pictures, *copies)]
    assert not list(near_pictures(hashes, max_distance=tiny().deduplication.max_picture_distance))


def test_no_side_becomes_too_short_to_be_taken():
    data, _ = altered(scene(3, (34, 300)), key="x", min_side=32)
    assert Image.open(io.BytesIO(data)).size[0] == 32


def test_even_the_untrained_backbone_sees_that_a_picture_was_altered_and_more_so_that_it_is_another(tmp_path):
    """Equal scores on both sets are then equal ranks, neither an unaltered suite nor a model blind to pictures."""
    store = FolderImageStore(str(tmp_path / "images"))
    embedders = CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", store.root)
    embedder = embedders.open(embedders.untrained())
    pairs = [pair(f"q{seed}", "What is shown here?", Segment(image=put(store, scene(seed)))) for seed in range(3)]
    copies = list(altered_queries(pairs, store, limits=LIMITS, seed=42))
    asked = [Document.from_rows(row["question"]) for row in pairs]
    query_BD = embedder.embed(asked, side="query")
    copy_BD = embedder.embed([Document.from_rows(row["question"]) for row in copies], side="query")
    bare_D = embedder.embed([Document.of("What is shown here?")], side="query")[0]
    for place, query_D in enumerate(query_BD):
        assert query_D @ copy_BD[place] < 1 - 1e-4
        assert query_D @ bare_D < query_D @ copy_BD[place]
