"""Pages about games: memory cards, dice, dominoes, noughts and crosses, a rook at chess."""

import itertools

from sample_crawl.boards import ChessBoard, DiceThrow, DominoChain, NoughtsAndCrosses, ShapeCard
from sample_crawl.crafts import GAME_COLOURS
from sample_crawl.pages import Draft, Page
from sample_crawl.rules import rook_targets, winning_square


def shape_cards(draft: Draft) -> Page:
    """A card of six shapes; the text describes one of them."""
    picture, name = draft.picture_rng, draft.name
    colours = picture.sample(GAME_COLOURS, 6)
    shapes = [picture.choice(("circle", "square", "triangle", "star")) for _ in range(6)]
    card = ShapeCard(tuple(zip(shapes, colours, strict=True)))
    where = ("top left", "top middle", "top right", "bottom left", "bottom middle", "bottom right")
    named = draft.rng.randrange(6)
    other = (named + 2) % 6
    teacher, number = draft.person(), draft.rng.randint(1, 300)
    draft.say(f"Memory card {number} of the {name} school")
    draft.say(
        draft.one_of(
            f"{teacher} cuts memory cards for the school of {name}.",
            f"The memory cards of {name} school are cut by {teacher}.",
        ),
        f"A child looks at card {number} for {draft.rng.randint(3, 20)} seconds and then names what was where.",
        f"On this one a {colours[named]} {shapes[named]} is at the {where[named]}.",
    )
    draft.show(
        card, f"Card {number} of {name} school: six shapes in two rows.", alt_text="card with six coloured shapes"
    )
    draft.say(
        draft.some(
            1,
            "Most children remember corners first.",
            "No colour comes twice on a card.",
            "The record is eleven cards without a mistake.",
        )
    )
    draft.tell(f"Who cuts the memory cards of {name} school?", teacher)
    draft.tell(f"Which shape is at the {where[named]} of card {number} of {name} school?", shapes[named])
    draft.tell(
        f"Which shape is at the {where[other]} of card {number} of {name} school?", shapes[other], source="picture"
    )
    draft.tell(
        f"How many circles are on card {number} of {name} school?", str(shapes.count("circle")), source="picture"
    )
    draft.tell(
        f"What colour is the shape at the {where[other]} of card {number} of {name} school?",
        colours[other],
        source="picture",
    )
    return draft.page(f"Memory card {number} of {name} school")


def dice(draft: Draft) -> Page:
    """A throw of dice; the text names the stake, the picture the pips."""
    picture, name = draft.picture_rng, draft.name
    throw = DiceThrow(
        tuple(picture.randint(1, 6) for _ in range(picture.randint(3, 5))),
        picture.choice(("red", "blue", "white", "yellow", "purple", "orange")),
    )
    player, stake, inn = (
        draft.person(),
        draft.rng.randint(2, 60),
        draft.one_of("Blue Boar", "Three Herons", "Old Anchor", "Golden Pear"),
    )
    total = sum(throw.values)
    parity = "even" if total % 2 == 0 else "odd"
    draft.say(f"A throw at the {inn} in {name}")
    draft.say(
        draft.one_of(
            f"At the {inn} in {name} dice are thrown for nuts, not for money.",
            f"Guests of the {inn} in {name} play dice for nuts.",
        ),
        draft.one_of(
            f"{player} staked {stake} nuts on an {parity} total and won.",
            f"{stake} nuts lay on the table when {player} bet on an {parity} total and won.",
        ),
    )
    draft.show(throw, f"The winning throw of {player}.", alt_text="dice on a green cloth")
    draft.say(
        draft.some(
            2,
            "Opposite faces of a die add up to seven.",
            "With two dice, seven is the most likely total: six of the thirty-six throws give it.",
            "A fair die has no memory, whatever the players say.",
            f"The landlord, {draft.person()}, keeps {draft.rng.randint(10, 90)} dice in a biscuit tin.",
        )
    )
    draft.tell(f"How many nuts did {player} stake at the {inn} in {name}?", str(stake))
    draft.tell(f"Who won the throw at the {inn} in {name}?", player)
    draft.tell(f"What is the total of the winning throw at the {inn} in {name}?", str(total), source="picture")
    draft.tell(f"How many dice were thrown at the {inn} in {name}?", str(len(throw.values)), source="picture")
    return draft.page(f"A throw at the {inn} in {name}")


def dominoes(draft: Draft) -> Page:
    """A chain in which the lower half of a tile equals the upper half of the next."""
    picture, name = draft.picture_rng, draft.name
    halves = [picture.randint(0, 6)]
    used: set[frozenset[int]] = set()
    while len(halves) < 6:
        following = picture.randint(0, 6)
        tile = frozenset((halves[-1], following))
        if tile not in used:
            used.add(tile)
            halves.append(following)
    chain = DominoChain(tuple(itertools.pairwise(halves)))
    player, evenings, rival = draft.person(), draft.rng.randint(3, 70), draft.person()
    draft.say(f"The domino table of {name}")
    draft.say(
        draft.one_of(
            f"{player} and {rival} have played dominoes in {name} for {evenings} evenings.",
            f"For {evenings} evenings {player} and {rival} have met at the domino table of {name}.",
        ),
        "They set the tiles upright, and each tile must begin above with the number that ends the one before it below.",
    )
    draft.show(chain, f"The chain at the end of the last evening in {name}.", alt_text="row of domino tiles")
    draft.say(
        f"{player} could not follow the {halves[-1]} at the right end and lost.",
        draft.some(
            1,
            "A full set has twenty-eight tiles, from double blank to double six.",
            "Seven tiles of a set carry the same number twice.",
            f"The loser washes {draft.rng.randint(4, 30)} glasses.",
        ),
    )
    draft.tell(f"For how many evenings have {player} and {rival} played dominoes in {name}?", str(evenings))
    draft.tell(f"Who lost the last domino game of {name}?", player)
    draft.tell(
        f"With which number does the domino chain of {name} begin at the upper left?", str(halves[0]), source="picture"
    )
    draft.tell(
        f"How many pips are on all five tiles of {name} together?", str(sum(map(sum, chain.tiles))), source="picture"
    )
    return draft.page(f"The domino table of {name}")


def noughts(draft: Draft) -> Page:
    """A position in which X wins at once on one square; the picture shows the position."""
    picture, name = draft.picture_rng, draft.name
    square = None
    while square is None:
        marks = ["X"] * 3 + ["O"] * 3 + [" "] * 3
        picture.shuffle(marks)
        square = winning_square("".join(marks), "X")
    board = NoughtsAndCrosses("".join(marks))
    where = (
        "top left",
        "top middle",
        "top right",
        "middle left",
        "centre",
        "middle right",
        "bottom left",
        "bottom middle",
        "bottom right",
    )
    player, year, wall = (
        draft.person(),
        draft.rng.randint(1902, 1999),
        draft.one_of("bakery", "boat shed", "post office", "school"),
    )
    draft.say(f"The unfinished game on the {wall} wall of {name}")
    draft.say(
        draft.one_of(
            f"Since {year} an unfinished game of noughts and crosses has stood on the {wall} wall of {name}.",
            f"The game on the {wall} wall of {name} was left unfinished in {year}.",
        ),
        f"{player} plays the crosses and has the next move; one move wins.",
    )
    draft.show(board, f"The game on the {wall} wall of {name}; crosses to move.", alt_text="noughts and crosses board")
    draft.say(
        draft.some(
            1,
            "Between careful players the game always ends in a draw.",
            "There are eight lines of three: three rows, three columns and two diagonals.",
            "Whoever repaints the wall repaints the game as well.",
        )
    )
    draft.tell(f"Since when has the game on the {wall} wall of {name} stood unfinished?", str(year))
    draft.tell(f"Who plays the crosses on the {wall} wall of {name}?", player)
    draft.tell(
        f"On which square do the crosses win at once on the {wall} wall of {name}?", where[square], source="picture"
    )
    return draft.page(f"The unfinished game of {name}")


def rook_study(draft: Draft) -> Page:
    """A white rook, kings and pawns; the text asks what the rook can take."""
    picture, name = draft.picture_rng, draft.name
    targets: list[str] = []
    while len(targets) != 1:
        squares = picture.sample([file + rank for file in "abcdefgh" for rank in "234567"], 7)
        rook, others = squares[0], squares[1:]
        targets = rook_targets(rook, others)
    pieces = ((rook, "rook", "white"), *((square, "pawn", "black") for square in others))
    composer, number, club = (
        draft.person(),
        draft.rng.randint(2, 400),
        draft.one_of("Thursday Club", "Castle Club", "Reading Room", "Ferry Club"),
    )
    draft.say(f"Rook study {number} of the {name} {club}")
    draft.say(
        draft.one_of(
            f"{composer} set rook study {number} for the {club} of {name}.",
            f"Study {number} of the {club} in {name} is by {composer}.",
        ),
        f"White has only a rook, which stands on {rook}; Black has six pawns.",
        "A rook moves any number of free squares along its rank or its file.",
    )
    draft.show(
        ChessBoard(pieces),
        f"Study {number}: which pawn can the rook take at once?",
        alt_text="chess board with a rook and pawns",
    )
    draft.say(
        "Exactly one pawn can be taken at once.",
        draft.some(
            1,
            "Beginners look along the rank first.",
            f"The club has {draft.rng.randint(9, 90)} members.",
            "Pawns may stand in each other's way, and that helps them.",
        ),
    )
    draft.tell(f"Who set rook study {number} of the {name} {club}?", composer)
    draft.tell(f"Where does the white rook stand in study {number} of the {name} {club}?", rook)
    draft.tell(
        f"On which square can the rook take a pawn in study {number} of the {name} {club}?",
        targets[0],
        source="picture",
    )
    return draft.page(f"Rook study {number} of the {name} {club}")
