"""Pages about making: cloth, beads, gears, brackets, tiles, counting frames."""

from sample_crawl.boards import SquareGrid
from sample_crawl.chronicle import is_long, tell_chronicle, tell_visitors
from sample_crawl.crafts import GAME_COLOURS, BeadString, Cloth, GearTrain, RightTriangle
from sample_crawl.instruments import Abacus
from sample_crawl.pages import Draft, Page
from sample_crawl.rules import grid_perimeter

WEAVES = {
    "plain weave": ("#.", ".#"),
    "basket weave": ("##..", "##..", "..##", "..##"),
    "twill": ("##..", ".##.", "..##", "#..#"),
    "weft-faced twill": ("#...", ".#..", "..#.", "...#"),
    "satin": ("#....", "..#..", "....#", ".#...", "...#."),
}
"""Each weave by its repeat: '#' where the warp lies on top."""

TRIPLES = (
    (3, 4, 5),
    (5, 12, 13),
    (6, 8, 10),
    (8, 15, 17),
    (9, 12, 15),
    (12, 16, 20),
    (20, 21, 29),
    (12, 35, 37),
    (9, 40, 41),
)
"""Whole numbers with a² + b² = c²."""


def weaving(draft: Draft) -> Page:
    """A swatch; the weave is named in the text, its colours only shown."""
    picture, name = draft.picture_rng, draft.name
    weave = picture.choice(tuple(WEAVES))
    colours = picture.sample(("red", "blue", "green", "purple", "orange", "black"), 1) + picture.sample(
        ("white", "yellow", "grey", "pink"), 1
    )
    cloth = Cloth(WEAVES[weave], colours[0], colours[1])
    weaver, threads, days = draft.person(), draft.rng.randint(6, 28), draft.rng.randint(3, 60)
    draft.say(f"A {weave} from {name}")
    draft.say(
        draft.one_of(
            f"{weaver} weaves in {name}, mostly in {weave}.",
            f"The weaver {weaver} of {name} prefers {weave} to all others.",
        ),
        draft.one_of(
            f"A centimetre of the cloth holds {threads} threads.", f"The cloth has {threads} threads to the centimetre."
        ),
        f"A blanket takes {days} days.",
    )
    draft.show(cloth, f"A swatch of {weave} by {weaver}, much enlarged.", alt_text="woven swatch")
    ends, picks = len(cloth.rows[0]), len(cloth.rows)
    draft.say(
        f"The pattern repeats after {ends} warp threads and {picks} weft threads.",
        draft.some(
            2,
            "The warp runs the length of the loom, the weft goes across it.",
            "In the enlargement the upright threads are the warp.",
            f"The loom came from {draft.person()} in exchange for {draft.rng.randint(2, 15)} sacks of wool.",
            "Where a thread passes over several others at once, weavers speak of a float.",
        ),
    )
    draft.tell(f"Which weave does {weaver} of {name} prefer?", weave)
    draft.tell(f"How many threads to the centimetre has the cloth of {name}?", str(threads))
    draft.tell(f"After how many warp threads does the {name} pattern repeat?", str(ends))
    draft.tell(f"What colour is the warp of the swatch from {name}?", cloth.warp, source="picture")
    draft.tell(f"What colour is the weft of the swatch from {name}?", cloth.weft, source="picture")
    if is_long(draft):
        tell_visitors(draft, what="weaving shed")
        tell_chronicle(draft, since=1830, num_events=32)
    return draft.page(f"A {weave} from {name}")


def beads(draft: Draft) -> Page:
    """A string of beads; only the picture shows colours and order."""
    picture, name = draft.picture_rng, draft.name
    palette = picture.sample(GAME_COLOURS, 4)
    string = BeadString(tuple(picture.choice(palette) for _ in range(picture.randint(6, 10))))
    maker, glass, price = (
        draft.person(),
        draft.one_of("river glass", "bottle glass", "fired clay", "boxwood", "horn"),
        draft.rng.randint(3, 80),
    )
    draft.say(f"Bead strings of {name}")
    draft.say(
        draft.one_of(
            f"{maker} of {name} makes beads of {glass}.", f"Beads of {glass} are the trade of {maker} in {name}."
        ),
        draft.one_of(f"A string costs {price} crowns.", f"The price is {price} crowns a string."),
        "The order of the colours spells a wish that the buyer chooses and nobody else can read.",
    )
    draft.show(string, f"A bead string from {name}, read from left to right.", alt_text="string of coloured beads")
    draft.say(
        draft.some(
            1,
            "The cord is waxed linen.",
            "A knot on each side keeps the beads from sliding.",
            f"Each bead is turned {draft.rng.randint(20, 90)} times in the fire.",
        )
    )
    draft.tell(f"What are the beads of {maker} in {name} made of?", glass)
    draft.tell(f"What does a bead string from {name} cost?", f"{price} crowns")
    draft.tell(f"How many beads has the string from {name}?", str(len(string.colours)), source="picture")
    draft.tell(f"What colour is the first bead on the string from {name}?", string.colours[0], source="picture")
    draft.tell(f"What colour is the last bead on the string from {name}?", string.colours[-1], source="picture")
    return draft.page(f"Bead strings of {name}")


def gears(draft: Draft) -> Page:
    """Three gears in mesh; the teeth stand on the wheels, the text reasons about turns."""
    picture, name = draft.picture_rng, draft.name
    teeth = tuple(picture.choice((10, 12, 15, 16, 18, 20, 24, 30, 36)) for _ in range(3))
    train = GearTrain(teeth, tuple(picture.sample(("red", "orange", "green", "blue", "purple", "brown"), 3)))
    smith, machine, year = (
        draft.person(),
        draft.one_of("cider press", "fulling mill", "music box", "sluice gate", "apple peeler"),
        draft.rng.randint(1805, 1950),
    )
    draft.say(f"The gears of the {name} {machine}")
    draft.say(
        draft.one_of(
            f"Three gears move the {machine} of {name}.", f"The {machine} of {name} runs on three gears in a row."
        ),
        draft.one_of(f"{smith} cut them in {year}.", f"They were cut by {smith} in {year}."),
        f"The left one has {teeth[0]} teeth and is turned by the crank.",
    )
    draft.show(train, f"The three gears of the {machine}, with their numbers of teeth.", alt_text="three gears in mesh")
    speed = "faster than" if teeth[2] < teeth[0] else "slower than" if teeth[2] > teeth[0] else "exactly as fast as"
    draft.say(
        f"The right gear turns {speed} the left one, and in the same direction.",
        draft.some(
            2,
            "Neighbouring gears turn in opposite directions.",
            "The gear in the middle changes the direction but not the ratio of the outer two.",
            "In mesh, the same number of teeth passes on both sides: few teeth mean many turns.",
            f"The bearings are greased with {draft.one_of('mutton fat', 'goose fat', 'linseed oil', 'beeswax')}.",
        ),
    )
    draft.tell(f"Who cut the gears of the {machine} in {name}?", smith)
    draft.tell(f"How many teeth has the left gear of the {name} {machine}?", str(teeth[0]))
    draft.tell(f"How many teeth has the middle gear of the {name} {machine}?", str(teeth[1]), source="picture")
    draft.tell(f"What colour is the right gear of the {name} {machine}?", train.colours[2], source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=year, num_events=12)
    return draft.page(f"The gears of the {name} {machine}")


def triangle(draft: Draft) -> Page:
    """A right-angled triangle of whole sides: Pythagoras, with the longest side left open."""
    picture, name = draft.picture_rng, draft.name
    a, b, c = picture.choice(TRIPLES)
    base, height = picture.sample((a, b), 2)
    figure = RightTriangle(base, height, c, picture.random() < 0.3, picture.choice(("blue", "red", "green", "purple")))
    carpenter, brackets = draft.person(), draft.rng.randint(4, 90)
    draft.say(f"A shelf bracket from {name}")
    draft.say(
        draft.one_of(
            f"{carpenter} of {name} saws shelf brackets without a set square.",
            f"In {name}, {carpenter} makes shelf brackets and owns no set square.",
        ),
        f"The order book asks for {brackets} of them, each {base} centimetres deep.",
        "If the squares over the two short sides together equal the square over the long side, the corner is square.",
    )
    draft.show(
        figure, f"The bracket of {carpenter}, with its measures in centimetres.", alt_text="right-angled triangle"
    )
    draft.say(
        "The area of one bracket is half of depth times height.",
        draft.some(
            1,
            "The rule is known as the theorem of Pythagoras.",
            "Three, four and five are the smallest whole sides that do it.",
            "Rope stretchers used it long before it had a name.",
        ),
    )
    draft.tell(f"Who makes shelf brackets in {name}?", carpenter)
    draft.tell(f"How deep is a shelf bracket from {name}?", f"{base} centimetres")
    draft.tell(f"How high is the shelf bracket from {name}?", f"{height} centimetres", source="picture")
    draft.tell(f"How long is the slanting side of the bracket from {name}?", f"{c} centimetres", source="picture")
    draft.tell(
        f"What is the area of a bracket from {name}?", f"{base * height / 2:g} square centimetres", source="picture"
    )
    return draft.page(f"A shelf bracket from {name}")


def tile_area(draft: Draft) -> Page:
    """A figure of unit squares: the text tells the price of a tile, the picture how many there are."""
    picture, name = draft.picture_rng, draft.name
    cells = {(picture.randint(2, 5), picture.randint(2, 4))}
    size = picture.randint(6, 13)
    while len(cells) < size:
        x, y = picture.choice(sorted(cells))
        dx, dy = picture.choice(((1, 0), (-1, 0), (0, 1), (0, -1)))
        if 0 <= x + dx < 8 and 0 <= y + dy < 7:
            cells.add((x + dx, y + dy))
    figure = SquareGrid(tuple(sorted(cells)), picture.choice(GAME_COLOURS))
    tiler, price, room = (
        draft.person(),
        draft.rng.randint(2, 25),
        draft.one_of("porch", "pantry", "fountain edge", "hearth", "bath"),
    )
    draft.say(f"Tiles for the {room} of {name} Hall")
    draft.say(
        draft.one_of(f"{tiler} tiled the {room} of {name} Hall.", f"The {room} of {name} Hall was tiled by {tiler}."),
        f"A tile is one foot square and costs {price} crowns.",
    )
    draft.show(
        figure,
        f"Plan of the {room} of {name} Hall; each square is one tile.",
        alt_text="coloured squares on squared paper",
    )
    draft.say(
        f"Its edge, inner corners included, is {grid_perimeter(cells)} feet long.",
        draft.some(
            1,
            "Figures of equal area can have edges of different length.",
            "The longest edge for a number of tiles comes from laying them in a single row.",
            "Broken tiles were saved for a flower pot.",
        ),
    )
    draft.tell(f"Who tiled the {room} of {name} Hall?", tiler)
    draft.tell(f"What does one tile for the {room} of {name} Hall cost?", f"{price} crowns")
    draft.tell(f"How many tiles has the {room} of {name} Hall?", str(len(cells)), source="picture")
    draft.tell(
        f"What do all the tiles of the {room} of {name} Hall cost?", f"{price * len(cells)} crowns", source="picture"
    )
    return draft.page(f"Tiles for the {room} of {name} Hall")


def abacus(draft: Draft) -> Page:
    """A number on a counting frame, which the text does not write out."""
    picture, name = draft.picture_rng, draft.name
    wires = picture.randint(3, 5)
    frame = Abacus(
        picture.randrange(10 ** (wires - 1), 10**wires),
        wires,
        picture.choice(("red", "blue", "green", "orange", "yellow")),
    )
    clerk, goods, price = (
        draft.person(),
        draft.one_of("barrels", "bales", "planks", "sacks", "bricks"),
        draft.rng.randint(2, 30),
    )
    draft.say(f"The counting frame of {name}")
    draft.say(
        draft.one_of(
            f"{clerk} counts the {goods} in the warehouse of {name} on a frame.",
            f"In the warehouse of {name}, {clerk} counts {goods} on a frame.",
        ),
        f"It has {wires} wires with nine beads each; the wire on the right counts ones, the next one tens.",
        f"Storage costs {price} crowns a day.",
    )
    draft.show(frame, f"The frame of {clerk} on the evening of the count: beads below are counted.", alt_text="abacus")
    draft.say(
        draft.some(
            2,
            "A wire without lowered beads stands for a zero.",
            "Ten on one wire are carried as one to the wire at its left.",
            "The beads are oiled once a year.",
            f"The frame has {9 * wires} beads in all.",
        )
    )
    draft.tell(f"Who counts the {goods} in the warehouse of {name}?", clerk)
    draft.tell(f"What does storage in {name} cost a day?", f"{price} crowns")
    draft.tell(f"Which number does the counting frame of {name} show?", str(frame.number), source="picture")
    draft.tell(
        f"How many beads are lowered on the right wire of the {name} frame?", str(frame.digits()[-1]), source="picture"
    )
    return draft.page(f"The counting frame of {name}")
