"""Rules against slow oracles that try everything."""

import itertools
import math
import random

import pytest

from sample_crawl.names import MAX_PAGES, NAMES_PER_PREFIX, place_name
from sample_crawl.rules import distance_to_line, rook_targets, winning_square
from training_kernels.errors import ConfigError

WINS = [{3 * r + c for c in range(3)} for r in range(3)]
WINS += [{3 * r + c for r in range(3)} for c in range(3)] + [{0, 4, 8}, {2, 4, 6}]


def has_won(squares: str, mark: str) -> bool:
    return any(all(squares[place] == mark for place in line) for line in WINS)


def test_winning_square_is_the_only_move_that_wins():
    rng, found = random.Random(5), 0
    for _ in range(400):
        marks = list("XXXOOO   ")
        rng.shuffle(marks)
        board = "".join(marks)
        wins = [
            place
            for place in range(9)
            if board[place] == " " and has_won(board[:place] + "X" + board[place + 1 :], "X")
        ]
        is_over = has_won(board, "X") or has_won(board, "O")
        expected = wins[0] if len(wins) == 1 and not is_over else None
        assert winning_square(board, "X") == expected, board
        found += expected is not None
    assert found > 50


def test_rook_takes_the_first_piece_of_each_line_and_none_behind_it():
    rng = random.Random(7)
    squares = [file + rank for file in "abcdefgh" for rank in "12345678"]
    for _ in range(300):
        rook, *others = rng.sample(squares, 12)
        expected = []
        for other in others:
            if (rook[0] == other[0]) == (rook[1] == other[1]):
                continue
            between = [
                piece
                for piece in others
                if piece != other
                and math.dist(*map(at, (rook, piece))) + math.dist(*map(at, (piece, other)))
                == pytest.approx(math.dist(*map(at, (rook, other))))
            ]
            if not between:
                expected.append(other)
        assert sorted(rook_targets(rook, others)) == sorted(expected)


def at(square: str) -> tuple[int, int]:
    return ord(square[0]), int(square[1])


def test_distance_to_line_is_the_least_over_many_points_of_it():
    rng = random.Random(2)
    for _ in range(50):
        point, start, end = ((rng.random(), rng.random()) for _ in range(3))
        steps = [k / 2_000 for k in range(2_001)]
        least = min(
            math.dist(point, (start[0] + s * (end[0] - start[0]), start[1] + s * (end[1] - start[1]))) for s in steps
        )
        assert distance_to_line(point, start, end) == pytest.approx(least, abs=1e-3)


def test_no_two_pages_have_one_name():
    names = {place_name(index, seed=4) for index in itertools.chain(range(NAMES_PER_PREFIX), range(60_000, 60_400))}
    assert len(names) == NAMES_PER_PREFIX + 400


def test_a_page_beyond_the_last_name_is_refused_with_the_limit():
    with pytest.raises(ConfigError, match=f"allowed 0 to {MAX_PAGES - 1}"):
        place_name(MAX_PAGES, seed=0)
