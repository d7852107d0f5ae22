"""Pictures of games and puzzles: boards, dice, dominoes, cards of shapes, squared paper."""

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from sample_crawl.canvas import COLOURS, GRID, INK, PAPER, SOFT_INK, Canvas, Point, on_circle

PIPS = {
    0: (),
    1: ((0, 0),),
    2: ((-1, -1), (1, 1)),
    3: ((-1, -1), (0, 0), (1, 1)),
    4: ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    5: ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)),
    6: ((-1, -1), (-1, 0), (-1, 1), (1, -1), (1, 0), (1, 1)),
}
"""Where the pips of a face stand, in thirds of the face from its middle."""


def _pips(canvas: Canvas, centre: Point, spread: float, value: int, colour: str) -> None:
    for x, y in PIPS[value]:
        canvas.circle((centre[0] + x * spread, centre[1] + y * spread), spread * 0.32, colour)


@dataclass(frozen=True, slots=True)
class NoughtsAndCrosses:
    """A board of nine squares, row by row from the top left: 'X', 'O' or a blank."""

    suffix: ClassVar[str] = "png"
    squares: str

    def draw(self) -> Image.Image:
        canvas = Canvas(240, 240)
        for place in (1, 2):
            canvas.line([(15 + 70 * place, 18), (15 + 70 * place, 222)], INK, width=4)
            canvas.line([(18, 15 + 70 * place), (222, 15 + 70 * place)], INK, width=4)
        for place, mark in enumerate(self.squares):
            x, y = 50 + 70 * (place % 3), 50 + 70 * (place // 3)
            if mark == "X":
                for slope in (-1, 1):
                    canvas.line([(x - 19, y - 19 * slope), (x + 19, y + 19 * slope)], COLOURS["blue"], width=7)
            elif mark == "O":
                canvas.circle((x, y), 23, outline=COLOURS["red"], width=7)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class DiceThrow:
    """Dice side by side on a cloth."""

    suffix: ClassVar[str] = "png"
    values: tuple[int, ...]
    colour: str

    def draw(self) -> Image.Image:
        canvas = Canvas(82 * len(self.values) + 34, 160, background="#3E6B57")
        pip = INK if self.colour in ("white", "yellow") else PAPER
        for place, value in enumerate(self.values):
            x = 58 + 82 * place
            y = 80 + (6 if place % 2 else -6)
            canvas.rectangle((x - 29, y - 26, x + 33, y + 36), "#2F5343", radius=12)
            canvas.rectangle((x - 31, y - 31, x + 31, y + 31), COLOURS[self.colour], radius=12)
            _pips(canvas, (x, y), 17, value, pip)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class DominoChain:
    """Upright domino tiles from left to right, each with an upper and a lower half."""

    suffix: ClassVar[str] = "png"
    tiles: tuple[tuple[int, int], ...]

    def draw(self) -> Image.Image:
        canvas = Canvas(74 * len(self.tiles) + 30, 168, background="#B98F63")
        for place, (upper, lower) in enumerate(self.tiles):
            x = 52 + 74 * place
            canvas.rectangle((x - 27, 22, x + 33, 152), "#94704B", radius=9)
            canvas.rectangle((x - 30, 18, x + 30, 148), "#FFFDF6", radius=9)
            canvas.line([(x - 24, 83), (x + 24, 83)], SOFT_INK, width=2)
            _pips(canvas, (x, 51), 17, upper, INK)
            _pips(canvas, (x, 115), 17, lower, INK)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class ChessBoard:
    """A chess board seen by White; pieces as (square, 'rook' or 'pawn' or 'king', 'white' or 'black')."""

    suffix: ClassVar[str] = "png"
    pieces: tuple[tuple[str, str, str], ...]

    def draw(self) -> Image.Image:
        canvas = Canvas(320, 320)
        for rank in range(8):
            for file in range(8):
                left, top = 28 + 34 * file, 14 + 34 * (7 - rank)
                is_dark = (rank + file) % 2 == 0
                canvas.rectangle((left, top, left + 34, top + 34), "#A9825A" if is_dark else "#F0E2C6")
        canvas.rectangle((27, 13, 301, 287), outline=INK, width=1.5)
        for place in range(8):
            canvas.text((45 + 34 * place, 302), "abcdefgh"[place], size=13, colour=SOFT_INK)
            canvas.text((15, 31 + 34 * (7 - place)), str(place + 1), size=13, colour=SOFT_INK)
        for square, piece, side in self.pieces:
            file, rank = "abcdefgh".index(square[0]), int(square[1])
            self._draw_piece(canvas, (45 + 34 * file, 31 + 34 * (8 - rank)), piece, side)
        return canvas.picture()

    @staticmethod
    def _draw_piece(canvas: Canvas, centre: Point, piece: str, side: str) -> None:
        x, y = centre
        fill, edge = ("#FFFFFF", INK) if side == "white" else (INK, "#FFFFFF")

        def shape(*points: Point) -> None:
            canvas.polygon([(x + px, y + py) for px, py in points], fill, outline=edge, width=1.3)

        if piece == "pawn":
            shape((-8, 12), (-4, -2), (4, -2), (8, 12))
            canvas.circle((x, y - 6), 5.5, fill, outline=edge, width=1.3)
        elif piece == "rook":
            shape((-7, 8), (-5, -4), (5, -4), (7, 8))
            battlements = ((-9, -4), (-9, -12), (-5, -12), (-5, -9), (-2, -9), (-2, -12))
            shape(*battlements, *((-px, py) for px, py in reversed(battlements)))
            shape((-10, 13), (-10, 8), (10, 8), (10, 13))
        else:
            shape((-8, 12), (-10, -3), (-4, 0), (0, -7), (4, 0), (10, -3), (8, 12))
            canvas.line([(x, y - 14), (x, y - 6)], edge if side == "black" else INK, width=2.2)
            canvas.line([(x - 3.5, y - 11), (x + 3.5, y - 11)], edge if side == "black" else INK, width=2.2)


@dataclass(frozen=True, slots=True)
class ShapeCard:
    """A card of 2 rows and 3 columns; each place holds (shape, colour): 'circle', 'square', 'triangle', 'star'."""

    suffix: ClassVar[str] = "png"
    shapes: tuple[tuple[str, str], ...]

    def draw(self) -> Image.Image:
        canvas = Canvas(324, 228)
        canvas.rectangle((8, 8, 316, 220), "#FFFFFF", outline=SOFT_INK, width=1.5, radius=14)
        for place, (shape, colour) in enumerate(self.shapes):
            centre = (66 + 96 * (place % 3), 64 + 100 * (place // 3))
            if shape == "circle":
                canvas.circle(centre, 34, COLOURS[colour])
            elif shape == "square":
                x, y = centre
                canvas.rectangle((x - 31, y - 31, x + 31, y + 31), COLOURS[colour], radius=3)
            elif shape == "triangle":
                corners = [on_circle((centre[0], centre[1] + 7), 40, angle) for angle in (0, 120, 240)]
                canvas.polygon(corners, COLOURS[colour])
            else:
                corners = [on_circle(centre, 40 if tip % 2 == 0 else 17, tip * 36) for tip in range(10)]
                canvas.polygon(corners, COLOURS[colour])
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class SquareGrid:
    """A figure of filled unit squares on squared paper; cells as (column, row) from the top left."""

    suffix: ClassVar[str] = "png"
    cells: tuple[tuple[int, int], ...]
    colour: str

    def draw(self) -> Image.Image:
        canvas = Canvas(276, 248, background="#FFFFFF")
        for x, y in self.cells:
            canvas.rectangle((18 + 30 * x, 19 + 30 * y, 48 + 30 * x, 49 + 30 * y), COLOURS[self.colour])
        for line in range(9):
            canvas.line([(18 + 30 * line, 19), (18 + 30 * line, 229)], GRID, width=1.2)
        for line in range(8):
            canvas.line([(18, 19 + 30 * line), (258, 19 + 30 * line)], GRID, width=1.2)
        return canvas.picture()
