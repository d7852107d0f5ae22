"""Rules of the games and figures that pages speak about."""

import math
from collections.abc import Collection, Sequence

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
"""Squares in a row on a board of nine, counted by rows from the top left."""


def winning_square(squares: str, mark: str) -> int | None:
    """The one blank square that completes a line of `mark`; None if there is none, several, or a line already stands."""
    if any(squares[a] == squares[b] == squares[c] != " " for a, b, c in LINES):
        return None
    winning = {
        next(place for place in line if squares[place] == " ")
        for line in LINES
        if sorted(squares[place] for place in line) == [" ", mark, mark]
    }
    return winning.pop() if len(winning) == 1 else None


def rook_targets(rook: str, others: Sequence[str]) -> list[str]:
    """Squares of `others` that a rook reaches first along its rank or file; squares as 'e4'."""
    targets = []
    for file_step, rank_step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        file, rank = "abcdefgh".index(rook[0]) + file_step, int(rook[1]) + rank_step
        while 0 <= file < 8 and 1 <= rank <= 8:
            square = "abcdefgh"[file] + str(rank)
            if square in others:
                targets.append(square)
                break
            file, rank = file + file_step, rank + rank_step
    return targets


def grid_perimeter(cells: Collection[tuple[int, int]]) -> int:
    """Length of the edge around unit squares: sides that have no square on the other side."""
    return sum((x + dx, y + dy) not in cells for x, y in cells for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def distance_to_line(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Distance from a point to the nearest point of the straight line between two others."""
    along = (end[0] - start[0], end[1] - start[1])
    share = ((point[0] - start[0]) * along[0] + (point[1] - start[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    share = min(1.0, max(0.0, share))
    return math.dist(point, (start[0] + share * along[0], start[1] + share * along[1]))
