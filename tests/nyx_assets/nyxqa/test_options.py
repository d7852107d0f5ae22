"""Four options, unique, one right, in an order that only content and seed decide."""

from collections import Counter

from nyx_assets.nyxqa.options import different_options, shuffled


def test_wrong_options_that_equal_the_answer_or_one_another_are_passed_over():
    wrong = ["Bergen", "bergen!", "oslo.", "Tromsø", " ", "Narvik", "Bodø"]
    assert different_options("Oslo", wrong, num_options=4) == ["Oslo", "Bergen", "Tromsø", "Narvik"]
    assert different_options("Oslo", ["Bergen", "Bergen", "the Oslo"], num_options=4) == ["Oslo", "Bergen"]


def test_the_order_depends_on_pair_and_seed_only_and_favours_no_place():
    def place(qa_id: str, seed: int) -> int:
        return shuffled(["right", "x1", "x2", "x3"], qa_id=qa_id, seed=seed).index("right")

    assert [place(f"q{i}", 1) for i in range(50)] == [place(f"q{i}", 1) for i in range(50)]
    assert [place(f"q{i}", 1) for i in range(50)] != [place(f"q{i}", 2) for i in range(50)]
    counts = Counter(place(f"q{i}", 1) for i in range(4000))
    assert all(900 < counts[i] < 1100 for i in range(4))  # 1000 expected, standard deviation 27
    assert sorted(shuffled(["a", "b", "c", "d"], qa_id="q", seed=1)) == ["a", "b", "c", "d"]
