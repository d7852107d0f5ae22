"""Longer passages that any place can have: its chronicle, its trades, advice for visitors."""

from collections.abc import Callable

from sample_crawl.pages import Draft

LAST_YEAR = 2020
"""No chronicle reaches it."""

Event = Callable[[Draft, int], str]

WORKS = (
    "the old bridge",
    "the fish market",
    "the assembly rooms",
    "the north quay",
    "the public baths",
    "the corn mill",
)
TREES = ("lime trees", "chestnuts", "silver birches", "plane trees", "black pines", "walnut trees")
GUILDS = ("rope makers", "glaziers", "coopers", "bookbinders", "sail makers", "candle makers", "potters", "saddlers")
PRIZES = ("a silver kettle", "a brass telescope", "a painted chest", "a white pony", "an oak bench", "a pewter jug")
WEATHER = ("hailstorm", "spring flood", "long frost", "summer gale", "drought", "three-day fog")
BEASTS = ("a stray seal", "a runaway bull", "a white stork", "a tame otter", "an escaped parrot", "a lost hound")
TRADES = ("a painter", "a map maker", "a violinist", "a clock mender", "a botanist", "a poet")
FINDS = ("a bronze bell", "a jar of coins", "a mammoth tooth", "a stone axe", "an iron anchor", "a clay oven")
GIFTS = ("a fire engine", "a church organ", "forty street lamps", "a bathing cart", "a town library", "a bandstand")
FOODS = ("plum cake", "smoked eel", "barley soup", "rye pancakes", "apple dumplings", "pickled herring", "honey bread")


def _rebuilding(draft: Draft, year: int) -> str:
    work, person, months = draft.fresh(WORKS), draft.person(), draft.rng.randint(4, 29)
    cost = draft.rng.randrange(300, 9_000, 50)
    draft.tell(f"Who rebuilt {work} of {draft.name} in {year}?", person)
    return draft.one_of(
        f"In {year} {person} rebuilt {work} in {months} months, and the town paid {cost:,} crowns for it.",
        f"The rebuilding of {work} was finished in {year}. It had taken {person} {months} months and cost {cost:,} crowns.",
    )


def _planting(draft: Draft, year: int) -> str:
    trees, count, person = draft.fresh(TREES), draft.rng.randint(24, 310), draft.person()
    draft.tell(f"How many {trees} were planted in {draft.name} in {year}?", str(count))
    return draft.one_of(
        f"The schoolchildren planted {count} {trees} along the road in {year}; the idea was {person}'s.",
        f"{person} persuaded the council to plant {count} {trees} in {year}, and the shade has been welcome ever since.",
    )


def _guild(draft: Draft, year: int) -> str:
    guild, members = draft.fresh(GUILDS), draft.rng.randint(6, 48)
    draft.tell(f"Which guild was founded in {draft.name} in {year}?", f"the {guild}")
    return draft.one_of(
        f"The guild of the {guild} was founded in {year} with {members} members, who met above the bakery.",
        f"In {year} the {guild} founded a guild. Its first roll lists {members} names.",
    )


def _weather(draft: Draft, year: int) -> str:
    weather, month, damage = (
        draft.fresh(WEATHER),
        draft.one_of("March", "June", "August", "November"),
        draft.rng.randint(3, 60),
    )
    draft.tell(f"What damaged {draft.name} in {month} {year}?", f"a {weather}")
    return draft.one_of(
        f"People still speak of the {weather} of {month} {year}, which damaged {damage} roofs and the weathercock.",
        f"A {weather} in {month} {year} damaged {damage} houses, but nobody was hurt.",
    )


def _contest(draft: Draft, year: int) -> str:
    person, prize, field = draft.person(), draft.fresh(PRIZES), draft.rng.randint(7, 80)
    draft.tell(f"What did {person} win at the rowing contest of {draft.name} in {year}?", prize)
    return draft.one_of(
        f"The rowing contest of {year} drew {field} boats; {person} won it and took home {prize}.",
        f"{person} beat {field - 1} other boats in the rowing contest of {year} and was given {prize}.",
    )


def _beast(draft: Draft, year: int) -> str:
    beast, days, person = draft.fresh(BEASTS), draft.rng.randint(2, 26), draft.person()
    draft.tell(f"Which animal did {person} look after in {draft.name} in {year}?", beast)
    return draft.one_of(
        f"{person} looked after {beast} for {days} days in {year}, and the newspaper printed a poem about it.",
        f"For {days} days in {year}, {beast} was the talk of the place; {person} fed it until its owner or its luck returned.",
    )


def _guest(draft: Draft, year: int) -> str:
    trade, person, weeks = draft.fresh(TRADES), draft.person(), draft.rng.randint(3, 40)
    draft.tell(f"Which trade had {person}, who stayed in {draft.name} in {year}?", trade)
    return draft.one_of(
        f"{person}, {trade} by trade, stayed for {weeks} weeks in {year} and left a trunk of drawings behind.",
        f"In {year} the house by the pump was let to {trade}, {person}, who stayed {weeks} weeks and never paid for the coal.",
    )


def _find(draft: Draft, year: int) -> str:
    thing, depth, person = draft.fresh(FINDS), draft.rng.randint(2, 9), draft.person()
    draft.tell(f"What did {person} dig up in {draft.name} in {year}?", thing)
    return draft.one_of(
        f"Digging a well in {year}, {person} came upon {thing} at a depth of {depth} metres; it is kept in the town hall.",
        f"{thing.capitalize()} came to light {depth} metres down in {year}, under the spade of {person}.",
    )


def _bequest(draft: Draft, year: int) -> str:
    gift, person, crowns = draft.fresh(GIFTS), draft.person(), draft.rng.randrange(200, 6_000, 100)
    draft.tell(f"What did {draft.name} buy from the bequest of {person} in {year}?", gift)
    return draft.one_of(
        f"When {person} died in {year}, the town inherited {crowns:,} crowns and bought {gift}.",
        f"From {crowns:,} crowns that {person} left to the town in {year}, the council bought {gift}.",
    )


EVENTS: tuple[Event, ...] = (_rebuilding, _planting, _guild, _weather, _contest, _beast, _guest, _find, _bequest)


def tell_chronicle(draft: Draft, *, since: int, num_events: int) -> None:
    """A heading and one paragraph for every two or three events, in order of years after `since`."""
    draft.say(draft.one_of("A short chronicle", f"{draft.name} through the years", "From the town's record"))
    years = sorted(draft.rng.sample(range(since + 1, LAST_YEAR), num_events))
    # Every kind of event once before any comes again.
    kinds = [kind for _ in range(num_events // len(EVENTS) + 1) for kind in draft.rng.sample(EVENTS, len(EVENTS))]
    sentences = [event(draft, year) for event, year in zip(kinds, years, strict=False)]
    while sentences:
        length = draft.rng.choice((2, 3))
        draft.say(*sentences[:length])
        del sentences[:length]


def tell_visitors(draft: Draft, *, what: str) -> None:
    """A heading and a paragraph: when it is open, what it costs, what to eat."""
    opens, closes = draft.rng.randint(8, 11), draft.rng.randint(15, 19)
    fee, closed, food = (
        draft.rng.randint(2, 14),
        draft.one_of("Mondays", "Tuesdays", "Thursdays"),
        draft.rng.choice(FOODS),
    )
    draft.say(draft.one_of("For visitors", "Before you come", "Opening times"))
    draft.say(
        draft.one_of(
            f"The {what} is open from {opens} in the morning until {closes - 12} in the afternoon, except on {closed}.",
            f"Except on {closed}, visitors may enter the {what} between {opens}:00 and {closes}:00.",
        ),
        draft.one_of(
            f"A ticket costs {fee} crowns; children under six pay nothing.",
            f"Entry is {fee} crowns, and free for children under six.",
        ),
        draft.one_of(
            f"The café by the entrance is known for its {food}.",
            f"Try the {food} in the café next door.",
            f"Bring an appetite: the café serves {food}.",
        ),
    )
    draft.tell(f"On which days is the {what} of {draft.name} closed?", closed)
    draft.tell(f"What does entry to the {what} of {draft.name} cost?", f"{fee} crowns")
    draft.tell(f"What is the café at the {what} of {draft.name} known for?", food)


def is_long(draft: Draft) -> bool:
    """Whether this page is one of those that run to several chunks: a third of them."""
    return draft.rng.random() < 1 / 3
