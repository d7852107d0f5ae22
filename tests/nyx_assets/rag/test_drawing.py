"""A draw by hash depends on the seed and hardly on what stands beside."""

from nyx_assets.rag.drawing import draw_by_hash


def test_a_draw_is_the_same_in_any_order_and_differs_by_seed() -> None:
    ids = [f"q{number}" for number in range(300)]
    drawn = draw_by_hash(ids, limit=40, seed=1)
    assert len(drawn) == 40
    assert set(drawn) < set(ids)
    assert drawn == draw_by_hash(reversed(ids), limit=40, seed=1) == sorted(drawn)
    assert drawn != draw_by_hash(ids, limit=40, seed=2)
    assert draw_by_hash(ids, limit=1_000, seed=1) == sorted(ids)


def test_one_new_row_moves_one_place_of_the_draw_at_most() -> None:
    ids = [f"q{number}" for number in range(300)]
    before = set(draw_by_hash(ids, limit=40, seed=3))
    for new in ("x1", "x2", "x3", "x4"):
        assert len(before - set(draw_by_hash([*ids, new], limit=40, seed=3))) <= 1
