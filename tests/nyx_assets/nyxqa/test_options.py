"""Four options, unique, one right, in an order that only content and seed decide."""

from collections import Counter

from nyx_assets.nyxqa.options import options_for


def test_the_right_option_is_the_answer_and_all_are_different():
    options, right = options_for(
        "Oslo", ["Bergen", "bergen!", "oslo.", "Tromsø", "Narvik", "Bodø"], qa_id="q", num_options=4, seed=1
    )
    assert options[right] == "Oslo"
    assert sorted(options) == ["Bergen", "Narvik", "Oslo", "Tromsø"]


def test_too_few_different_distractors_are_a_reason_and_not_a_shorter_list():
    reason = options_for("Oslo", ["Bergen", "Bergen", "the Oslo", " "], qa_id="q", num_options=4, seed=1)
    assert "2 different options" in reason
    assert "empty" in options_for("...", ["a1", "b1", "c1"], qa_id="q", num_options=4, seed=1)


def test_the_order_depends_on_pair_and_seed_only_and_favours_no_place():
    def place(qa_id: str, seed: int) -> int:
        return options_for("right", ["x1", "x2", "x3"], qa_id=qa_id, num_options=4, seed=seed)[1]

    assert [place(f"q{i}", 1) for i in range(50)] == [place(f"q{i}", 1) for i in range(50)]
    assert [place(f"q{i}", 1) for i in range(50)] != [place(f"q{i}", 2) for i in range(50)]
    counts = Counter(place(f"q{i}", 1) for i in range(4000))
    assert all(900 < counts[i] < 1100 for i in range(4))  # 1000 expected, standard deviation 27
