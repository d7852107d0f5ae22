"""Pages about towns: markets, trams, a census, a railway station."""

from sample_crawl.canvas import BRIGHT
from sample_crawl.charts import BarChart, PieChart, TablePicture
from sample_crawl.chronicle import is_long, tell_chronicle, tell_visitors
from sample_crawl.pages import Draft, Page, Source
from sample_crawl.sceneries import TramMap

GOODS = ("fish", "bread", "fruit", "cloth", "honey", "cheese", "flowers", "candles", "spices", "baskets")
STOPS = (
    "Museum",
    "Park",
    "Station",
    "Bridge",
    "Castle",
    "Market",
    "Docks",
    "Theatre",
    "Library",
    "Zoo",
    "Baths",
    "Hospital",
)


def market(draft: Draft) -> Page:
    """A market day whose sales stand in a bar chart; the text names two of five."""
    picture, name = draft.picture_rng, draft.name
    labels = tuple(picture.sample(GOODS, 5))
    values = tuple(picture.sample(range(6, 97), 5))
    chart = BarChart("Crates sold by stall", labels, values, tuple(picture.sample(BRIGHT, 5)))
    named, other = draft.rng.sample(range(5), 2)
    day, year, stalls = (
        draft.one_of("Wednesday", "Saturday", "Friday"),
        draft.rng.randint(1420, 1790),
        draft.rng.randint(18, 140),
    )
    draft.say(f"Market day in {name}")
    draft.say(
        draft.one_of(
            f"{name} has held a market every {day} since {year}.",
            f"Every {day} since {year} the square of {name} has been a market.",
        ),
        draft.one_of(f"There are {stalls} pitches, let by the year.", f"The square has room for {stalls} stalls."),
        f"On the day that we counted, the stall for {labels[named]} sold {values[named]} crates.",
    )
    draft.show(
        chart, f"Crates sold on one market day in {name}, five stalls compared.", alt_text="bar chart of crates sold"
    )
    relation = "more" if values[other] > values[named] else "fewer"
    draft.say(
        f"The stall for {labels[other]} sold {relation} than that, which surprised nobody.",
        draft.some(
            2,
            f"{draft.person()}, who rings the closing bell, remembers days with twice the trade.",
            f"Unsold crates go to the school kitchen, {draft.rng.randint(2, 19)} of them in a usual week.",
            "Rain halves the sale of everything except umbrellas.",
            "A crate is a fixed measure here: forty litres, stamped by the town.",
        ),
    )
    best = max(range(5), key=lambda place: values[place])
    draft.tell(f"On which day is the market of {name} held?", day)
    draft.tell(f"Since which year has {name} held its market?", str(year))
    draft.tell(f"How many crates did the stall for {labels[named]} sell in {name}?", str(values[named]))
    draft.tell(f"Which of the five stalls in {name} sold most crates?", labels[best], source="picture")
    draft.tell(
        f"How many crates did the stall for {labels[other]} sell in {name}?", str(values[other]), source="picture"
    )
    if is_long(draft):
        tell_chronicle(draft, since=1795, num_events=36)
        tell_visitors(draft, what="market hall")
    return draft.page(f"Market day in {name}")


def tram(draft: Draft) -> Page:
    """Two tram lines whose crossing only the map shows."""
    picture, name = draft.picture_rng, draft.name
    stops = picture.sample(STOPS, picture.randint(9, 10))
    across, rest = stops[:5], stops[5:]
    crossing = picture.randint(1, 3)
    down = [*rest]
    down.insert(picture.randint(1, len(rest) - 1), across[crossing])
    colours = picture.sample(("red", "blue", "green", "purple", "orange"), 2)
    lines = TramMap(tuple(across), tuple(down), colours[0], colours[1])
    minutes, opened, cars, fare = (
        draft.rng.randint(5, 20),
        draft.rng.randint(1889, 1958),
        draft.rng.randint(8, 44),
        draft.rng.randint(2, 9),
    )
    draft.say(f"Trams in {name}")
    draft.say(
        draft.one_of(
            f"Two tram lines serve {name}; the older opened in {opened}.",
            f"The first of the two tram lines of {name} opened in {opened}.",
        ),
        draft.one_of(f"A car comes every {minutes} minutes.", f"Nobody waits longer than {minutes} minutes."),
        draft.one_of(f"The depot keeps {cars} cars, all of them yellow.", f"{cars} yellow cars are kept in the depot."),
    )
    draft.show(
        lines,
        f"Tram map of {name}: both lines, and the stop where passengers change.",
        alt_text="tram map with two lines",
    )
    draft.say(
        f"The {colours[0]} line has {len(across)} stops, and {across[0]} is one of its ends.",
        f"A ticket costs {fare} crowns and allows one change.",
        draft.some(
            1,
            f"Conductor {draft.person()} has walked through {draft.rng.randint(20, 90)} pairs of shoes.",
            "Dogs travel free if they sit.",
            "The bell is rung twice before a car leaves.",
        ),
    )
    draft.tell(f"When did the first tram line of {name} open?", str(opened))
    draft.tell(f"What does a tram ticket cost in {name}?", f"{fare} crowns")
    draft.tell(
        f"At which stop do passengers change between the tram lines of {name}?", lines.interchange, source="picture"
    )
    draft.tell(f"How many stops has the {colours[1]} tram line of {name}?", str(len(down)), source="picture")
    draft.tell(f"Which stop is the lower end of the {colours[1]} line in {name}?", down[-1], source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=opened, num_events=16)
    return draft.page(f"Trams in {name}")


def census(draft: Draft) -> Page:
    """A town's ways to work as a pie chart; the text names one share."""
    picture, name = draft.picture_rng, draft.name
    labels = tuple(picture.sample(("on foot", "bicycle", "tram", "ferry", "bus", "on horseback"), 4))
    cuts = sorted(picture.sample(range(2, 19), 3))
    values = tuple(5 * (high - low) for low, high in zip((0, *cuts), (*cuts, 20), strict=True))
    chart = PieChart(
        "Ways to work", labels, values, tuple(picture.sample(("red", "orange", "yellow", "green", "blue", "purple"), 4))
    )
    people, clerk = draft.rng.randint(900, 64_000), draft.person()
    named = draft.rng.randrange(4)
    draft.say(f"The census of {name}")
    draft.say(
        draft.one_of(
            f"At the last census {name} had {people:,} inhabitants.",
            f"{people:,} people live in {name}, says the last census.",
        ),
        f"{clerk} and {draft.rng.randint(3, 30)} helpers counted them in {draft.rng.randint(2, 20)} days.",
        f"One question was how people go to work, and the answer '{labels[named]}' was given by {values[named]} percent.",
    )
    draft.show(chart, f"How the people of {name} go to work.", alt_text="pie chart of four shares")
    draft.say(
        draft.some(
            2,
            "A pie chart shows shares of a whole: all its slices together make a hundred percent.",
            f"The forms filled {draft.rng.randint(4, 60)} boxes in the cellar of the town hall.",
            "The next census asks the same question, so that the two can be compared.",
            f"The oldest inhabitant, {draft.person()}, was {draft.rng.randint(99, 108)} years old.",
        )
    )
    draft.tell(f"How many inhabitants has {name}?", f"{people:,}")
    draft.tell(f"Who led the census of {name}?", clerk)
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        source: Source = "text" if place == named else "picture"
        draft.tell(f"What share of the people of {name} answered '{label}'?", f"{value} percent", source=source)
    if is_long(draft):
        tell_chronicle(draft, since=1850, num_events=32)
    return draft.page(f"The census of {name}")


def station(draft: Draft) -> Page:
    """A station whose departures stand on a board; the text names one of five."""
    picture, name = draft.picture_rng, draft.name
    towns = picture.sample(("Harbour", "Castle", "Abbey", "Mines", "Border", "Lakes", "Airfield", "Forest"), 5)
    minutes = sorted(picture.sample(range(6 * 60, 21 * 60, 5), 5))
    rows = tuple(
        (f"{m // 60:02}:{m % 60:02}", town, str(picture.randint(1, 6))) for m, town in zip(minutes, towns, strict=True)
    )
    board = TablePicture(
        "Departures", ("Time", "To", "Platform"), rows, picture.choice(("blue", "green", "purple", "black"))
    )
    named, master, year = draft.rng.randrange(5), draft.person(), draft.rng.randint(1851, 1936)
    draft.say(f"{name} railway station")
    draft.say(
        draft.one_of(f"The station of {name} was opened in {year}.", f"Trains have called at {name} since {year}."),
        f"Five trains leave on a Sunday, among them the one to {towns[named]} at {rows[named][0]}.",
        draft.one_of(f"{master} is the station master.", f"The station master is called {master}."),
    )
    draft.show(board, f"The Sunday departure board of {name} station.", alt_text="departure board")
    draft.say(
        draft.some(
            2,
            "The board is painted anew each spring.",
            f"The waiting room has {draft.rng.randint(8, 40)} seats and one stove.",
            "Whoever is late may wait in the buffet.",
            f"Lost umbrellas are sold every autumn; last year there were {draft.rng.randint(11, 190)}.",
        )
    )
    other = (named + 2) % 5
    draft.tell(f"When was the station of {name} opened?", str(year))
    draft.tell(f"Who is the station master of {name}?", master)
    draft.tell(f"When does the Sunday train from {name} to {towns[named]} leave?", rows[named][0])
    draft.tell(f"When does the Sunday train from {name} to {towns[other]} leave?", rows[other][0], source="picture")
    draft.tell(
        f"From which platform does the train from {name} to {towns[other]} leave?", rows[other][2], source="picture"
    )
    draft.tell(f"Where does the last Sunday train from {name} go?", towns[4], source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=year, num_events=34)
    return draft.page(f"{name} railway station")
