"""Signatures agree as much as the things they stand for, and near copies are found wherever they stand."""

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nyx_assets.near_copies import (
    Groups,
    content_digest,
    near_pictures,
    near_pictures_between,
    near_texts,
    near_texts_between,
    picture_hash,
    shingles,
    text_digest,
    text_signatures,
)
from training_kernels.documents import Document, Segment


def words(seed: int, num: int = 150) -> list[str]:
    drawn = random.Random(seed)
    return [f"w{drawn.randrange(4000)}" for _ in range(num)]


def edited(text: list[str], num_changes: int, seed: int = 7) -> list[str]:
    drawn, copy = random.Random(seed), list(text)
    for place in drawn.sample(range(len(copy)), num_changes):
        copy[place] = f"changed{drawn.random()}"
    return copy


def jaccard(one: str, other: str) -> float:
    """Of runs of five words, by sets of tuples."""
    sets = []
    for text in (one, other):
        split = text.split()
        sets.append({tuple(split[start : start + 5]) for start in range(len(split) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_share_of_equal_places_estimates_the_jaccard_similarity():
    originals = [words(seed) for seed in range(60)]
    copies = [edited(text, changes % 20) for changes, text in enumerate(originals)]
    texts = [" ".join(text) for text in (*originals, *copies)]
    signature_NP = text_signatures(texts)
    errors = [
        (signature_NP[row] == signature_NP[row + 60]).mean() - jaccard(texts[row], texts[row + 60]) for row in range(60)
    ]
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.05


def test_a_signature_does_not_depend_on_what_is_signed_with_it():
    texts = [" ".join(words(seed)) for seed in range(5)]
    assert (text_signatures(texts)[3] == text_signatures(texts[3:4])[0]).all()


def test_shingles_are_runs_of_five_terms_and_short_texts_have_one():
    assert shingles("One two, three four five SIX") == ["one two three four five", "two three four five six"]
    assert shingles("Harbour gate") == ["harbour gate"]
    assert shingles(" … ") == []


def test_near_texts_finds_every_pair_that_comparing_all_with_all_finds():
    texts = [words(seed, 120) for seed in range(40)]
    texts += [edited(texts[row % 40], changes) for row, changes in enumerate(range(1, 13))]
    signature_NP = text_signatures([" ".join(text) for text in texts])
    by_hand = {
        (left, right): similarity
        for left in range(len(texts))
        for right in range(left + 1, len(texts))
        if (similarity := (signature_NP[left] == signature_NP[right]).mean()) >= 0.6
    }
    found = list(near_texts(signature_NP, min_similarity=0.6))
    assert len(found) == len(by_hand) > 3
    assert {(left, right): similarity for left, right, similarity in found} == pytest.approx(by_hand)


def test_a_thousand_copies_hang_together_without_a_comparison_of_all_with_all():
    signature_NP = np.repeat(text_signatures([" ".join(words(1)), " ".join(words(2))]), [1000, 1], axis=0)
    groups, num_pairs = Groups(), 0
    for left, right, similarity in near_texts(signature_NP, min_similarity=0.5):
        assert similarity == 1.0
        groups.join(f"{left:04}", f"{right:04}")
        num_pairs += 1
    assert len({groups.of(f"{row:04}") for row in range(1000)}) == 1
    assert groups.of("1000") == "1000"
    assert num_pairs <= 64 * 1000


def test_between_two_sides_every_pair_is_found_even_of_a_template_that_stands_a_thousand_times():
    originals = [words(seed, 120) for seed in range(4)]
    copies = [edited(originals[row % 4], 1 + row % 9, seed=row) for row in range(300)]
    left_NP, right_NP = (text_signatures([" ".join(text) for text in texts]) for texts in (originals, copies))
    by_hand = {
        (left, right): similarity
        for left in range(4)
        for right in range(300)
        if (similarity := (left_NP[left] == right_NP[right]).mean()) >= 0.7
    }
    found = list(near_texts_between(left_NP, right_NP, min_similarity=0.7))
    assert len(found) == len(by_hand) > 100
    assert {(left, right): similarity for left, right, similarity in found} == pytest.approx(by_hand)
    thousand_NP = np.repeat(right_NP[:1], 1000, axis=0)
    assert len(list(near_texts_between(left_NP, thousand_NP, min_similarity=0.7))) == 1000
    assert list(near_texts_between(left_NP[:0], right_NP, min_similarity=0.7)) == []


def test_pictures_of_two_sides_are_all_compared():
    drawn = random.Random(3)
    left = [f"{drawn.getrandbits(256):064x}" for _ in range(7)]
    right = [f"{int(left[row % 7], 16) ^ drawn.getrandbits(row % 14):064x}" for row in range(90)]

    def distance(one: str, other: str) -> int:
        return (int(one, 16) ^ int(other, 16)).bit_count()

    by_hand = {(i, j): 1 - d / 256 for i in range(7) for j in range(90) if (d := distance(left[i], right[j])) <= 5}
    found = {(i, j): similarity for i, j, similarity in near_pictures_between(left, right, max_distance=5)}
    assert 30 < len(found) < 90
    assert found == pytest.approx(by_hand)
    assert list(near_pictures_between(left, [], max_distance=5)) == []


def scene(seed: int) -> Image.Image:
    drawn = random.Random(seed)
    picture = Image.new("RGB", (200, 150), tuple(drawn.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(14):
        x, y = drawn.randrange(160), drawn.randrange(110)
        colour = tuple(drawn.randrange(256) for _ in range(3))
        pen.ellipse((x, y, x + drawn.randrange(15, 90), y + drawn.randrange(15, 70)), fill=colour)
    return picture


def saved_again(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.resize((120, 90)).save(file, "JPEG", quality=60)
    return Image.open(file)


def test_a_picture_saved_smaller_is_a_near_copy_and_other_pictures_are_not():
    pictures = [scene(seed) for seed in range(12)]
    hashes = [picture_hash(one) for one in (*pictures, *(saved_again(one) for one in pictures[:5]))]
    assert all(len(one) == 64 for one in hashes)
    found = {(left, right) for left, right, _ in near_pictures(hashes, max_distance=8)}
    assert found == {(row, row + 12) for row in range(5)}


def test_near_pictures_counts_differing_bits():
    zero = bytearray(32)
    hashes = [bytes(zero).hex()]
    for num_bits in (8, 9):  # one bit in each of the first bands
        one = bytearray(32)
        for bit in range(num_bits):
            one[2 * bit] = 1
        hashes.append(bytes(one).hex())
    found = sorted(near_pictures(hashes, max_distance=8))
    assert found == [(0, 1, pytest.approx(1 - 8 / 256)), (1, 2, pytest.approx(1 - 1 / 256))]


def test_a_plain_area_has_no_hash():
    assert picture_hash(Image.new("RGB", (64, 64), "teal")) is None


def test_groups_are_named_by_their_least_member():
    groups = Groups()
    for one, other in (("d", "c"), ("b", "e"), ("e", "d")):
        groups.join(one, other)
    assert [groups.of(one) for one in "abcde"] == list("abbbb")


def test_case_and_punctuation_do_not_count_and_the_order_of_words_does():
    assert text_digest("The gate, at NOON!") == text_digest("the gate at noon")
    assert text_digest("noon at the gate") != text_digest("the gate at noon")


def test_few_words_count_only_together_with_their_pictures():
    def figure(text: str, letter: str) -> Document:
        return Document.of(text, Segment(image=letter * 64))

    assert content_digest(figure("Figure 2", "a")) != content_digest(figure("Figure 2", "b"))
    assert content_digest(figure("Figure 2", "a")) == content_digest(figure("figure 2.", "a"))
    long = "the harbour gate opens at noon"
    assert content_digest(figure(long, "a")) == content_digest(figure(long, "b"))
