"""Pages about landscapes and lands: lighthouses, flags, islands, hills."""

import itertools

from sample_crawl.charts import LineChart
from sample_crawl.chronicle import is_long, tell_chronicle, tell_visitors
from sample_crawl.flags import FLAGS, flag_sentence
from sample_crawl.pages import Draft, Page
from sample_crawl.rules import distance_to_line
from sample_crawl.sceneries import Flag, IslandMap, Tower

SPOTS = ("Quay", "Mill", "Chapel", "Well", "Ruin", "Beacon", "Orchard", "Ferry", "Forge", "Kiln")


def lighthouse(draft: Draft) -> Page:
    """A tower whose paint, lit windows and beam only the picture shows."""
    picture, rng, name = draft.picture_rng, draft.rng, draft.name
    tower = Tower(
        picture.randint(2, 4),
        picture.choice(("red", "blue", "green", "orange", "purple", "black")),
        picture.randint(1, 4),
        picture.choice(("left", "right")),
    )
    height, steps, year, flash, keeper = (
        rng.randint(19, 58),
        rng.randint(90, 260),
        rng.randint(1792, 1911),
        rng.randint(4, 30),
        draft.person(),
    )
    draft.say(f"{name} Lighthouse")
    draft.say(
        draft.one_of(
            f"The lighthouse of {name} stands {height} metres above the rocks and was first lit in {year}.",
            f"First lit in {year}, the lighthouse of {name} is {height} metres high.",
        ),
        draft.one_of(
            f"A stair of {steps} steps leads to the lamp.", f"Whoever climbs to the lamp counts {steps} steps."
        ),
        draft.one_of(
            f"Its light flashes once every {flash} seconds, so that no sailor takes it for a neighbour.",
            f"Sailors know it by one flash every {flash} seconds.",
        ),
    )
    draft.show(
        tower,
        draft.one_of(f"The lighthouse of {name} at dusk.", f"{name} lighthouse, painted by day and lit by evening."),
        alt_text="lighthouse with painted bands",
    )
    draft.say(
        draft.one_of(f"The first keeper was {keeper}.", f"{keeper} was its first keeper."),
        draft.some(
            2,
            "The bands are repainted every fourth summer, always in the colour that the first keeper chose.",
            f"In the log of {year} the keeper complains of moths more often than of storms.",
            "The number of bands is the day mark: by night only the rhythm of the light counts.",
            "A lamp burns behind each window of the stair where somebody is at work.",
        ),
    )
    draft.tell(f"How high is the lighthouse of {name}?", f"{height} metres")
    draft.tell(f"When was the lighthouse of {name} first lit?", str(year))
    draft.tell(f"How often does the light of {name} flash?", f"every {flash} seconds")
    draft.tell(f"Who was the first keeper of the lighthouse of {name}?", keeper)
    draft.tell(f"What colour are the bands of {name} lighthouse?", tower.colour, source="picture")
    draft.tell(f"How many coloured bands has the tower of {name} lighthouse?", str(tower.num_bands), source="picture")
    draft.tell(f"To which side does the beam of {name} lighthouse point?", tower.beam, source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=year, num_events=34)
        tell_visitors(draft, what="tower")
    return draft.page(f"{name} Lighthouse")


def flag(draft: Draft) -> Page:
    """Two real flags; the text tells where they fly, the pictures their colours."""
    first, second = draft.picture_rng.sample(FLAGS, 2)
    club, year, person = draft.name, draft.rng.randint(1921, 2004), draft.person()
    draft.say(f"Flag notes of the {club} collectors")
    draft.say(
        draft.one_of(
            f"The flag collectors of {club} have met since {year}, and two flags hang side by side at each meeting.",
            f"Since {year} the collectors of {club} have compared two flags at every meeting.",
        ),
        f"This time {person} brought those of {first.country} and {second.country}.",
    )
    for land in (first, second):
        draft.show(Flag(land.design, land.paints), f"The flag of {land.country}.", alt_text=f"flag of {land.country}")
        draft.say(flag_sentence(land, draft), f"The capital of {land.country} is {land.capital}.")
        draft.tell(f"What is the capital of {land.country}?", land.capital)
        draft.tell(f"Which colours has the flag of {land.country}?", land.colours_in_words(), source="picture")
    draft.say(
        draft.some(
            2,
            "The side of a flag next to the pole is called the hoist, the free side the fly.",
            "A flag of three equal stripes is called a tricolour if each stripe has a colour of its own.",
            "The cross of the Nordic flags stands nearer to the hoist than to the fly.",
            "Collectors note the proportions of a flag as height to width.",
        )
    )
    draft.tell(f"Who brought the flags to the collectors of {club}?", person)
    return draft.page(f"Flag notes from {club}: {first.country} and {second.country}")


def island(draft: Draft) -> Page:
    """An island whose marked walk only the map shows."""
    picture, name = draft.picture_rng, draft.name
    places, route = _places_and_route(draft)
    shore = tuple(round(picture.uniform(0.86, 1.0), 3) for _ in range(9))
    chart = IslandMap(places, route, picture.choice(("red", "purple", "blue", "black")), shore)
    length, people, boat = draft.rng.randint(3, 17), draft.rng.randint(40, 2_400), draft.rng.randint(12, 95)
    draft.say(f"A walk across {name} Island")
    draft.say(
        draft.one_of(
            f"{name} Island has {people:,} inhabitants and no cars.",
            f"No car drives on {name} Island, where {people:,} people live.",
        ),
        draft.one_of(f"The boat from the mainland takes {boat} minutes.", f"The crossing lasts {boat} minutes."),
        f"The marked walk is {length} kilometres long and starts at the {route[0]}.",
    )
    draft.show(chart, f"Map of {name} Island; the dashed line is the marked walk.", alt_text="map of an island")
    draft.say(
        f"The walk ends at the {route[-1]}, where the evening boat waits.",
        draft.some(
            2,
            "Carry water, for the wells run dry in August.",
            f"{draft.person()}, who painted the first marks, used up {draft.rng.randint(3, 30)} pots of paint.",
            "Sheep have the right of way on the dunes.",
            "Not every place on the map lies on the walk; the others are worth a detour.",
        ),
    )
    draft.tell(f"How many people live on {name} Island?", f"{people:,}")
    draft.tell(f"How long is the marked walk on {name} Island?", f"{length} kilometres")
    draft.tell(f"Where does the walk on {name} Island start?", f"the {route[0]}")
    draft.tell(f"Which place comes second on the walk across {name} Island?", f"the {route[1]}", source="picture")
    draft.tell(f"What colour is the dashed walk on the map of {name} Island?", chart.route_colour, source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=draft.rng.randint(1780, 1860), num_events=18)
        tell_visitors(draft, what="island museum")
    return draft.page(f"A walk across {name} Island")


def _places_and_route(draft: Draft) -> tuple[tuple[tuple[str, float, float], ...], tuple[str, ...]]:
    """Six places and a walk through four of them that passes close to none of the others, so that it can be read."""
    picture = draft.picture_rng
    cells = [(column, row) for column in range(4) for row in range(3)]
    while True:
        spots = picture.sample(SPOTS, 6)
        places = tuple(
            (spot, round((column + picture.uniform(0.4, 0.6)) / 4, 3), round((row + picture.uniform(0.3, 0.7)) / 3, 3))
            for spot, (column, row) in zip(spots, picture.sample(cells, 6), strict=True)
        )
        at = {spot: (x, y) for spot, x, y in places}
        route = tuple(picture.sample(spots, 4))
        gaps = (
            distance_to_line(at[spot], at[start], at[end])
            for start, end in itertools.pairwise(route)
            for spot in spots
            if spot not in (start, end)
        )
        if min(gaps) > 0.12:  # an eighth of the map: wider than a place's name is high
            return places, route


def hill_walk(draft: Draft) -> Page:
    """A walk whose heights stand in a line chart."""
    picture, name = draft.picture_rng, draft.name
    heights = [picture.randrange(80, 300, 10)]
    for _ in range(6):
        heights.append(max(20, heights[-1] + picture.choice((-140, -90, -40, 60, 110, 170, 230))))
    chart = LineChart(
        "Height in metres by kilometre",
        tuple(map(str, range(7))),
        tuple(heights),
        picture.choice(("green", "brown", "purple")),
        True,
    )
    hut, guide, hours = (
        draft.rng.choice(("Heron Hut", "Larch Hut", "Bell Hut", "Fox Hut", "Thistle Hut")),
        draft.person(),
        draft.rng.randint(2, 5),
    )
    draft.say(f"Over the hills of {name}")
    draft.say(
        draft.one_of(
            f"The hill path of {name} is six kilometres long.", f"Six kilometres of path cross the hills of {name}."
        ),
        f"It begins at {heights[0]} metres above the sea and takes about {hours} hours.",
        draft.one_of(f"Half of the walkers rest at {hut}.", f"{hut} is the usual place to rest."),
    )
    draft.show(
        chart, f"Heights along the hill path of {name}, one point a kilometre.", alt_text="line chart of heights"
    )
    way = "higher" if heights[-1] > heights[0] else "lower" if heights[-1] < heights[0] else "neither higher nor lower"
    draft.say(
        f"The path ends {way} than it began."
        if way != "neither higher nor lower"
        else "The path ends as high as it began.",
        f"The guide {guide} has led {draft.rng.randint(60, 900)} parties over it.",
        draft.some(
            1,
            "Cairns mark the way in fog.",
            "Cows graze up to the last fence.",
            "In June the slopes are yellow with broom.",
        ),
    )
    draft.tell(f"At which height does the hill path of {name} begin?", f"{heights[0]} metres")
    draft.tell(f"Who guides walkers over the hills of {name}?", guide)
    draft.tell(f"Where do walkers rest on the hill path of {name}?", hut)
    draft.tell(
        f"How high is the hill path of {name} at its highest marked point?", f"{max(heights)} metres", source="picture"
    )
    draft.tell(f"How high is the hill path of {name} at kilometre 3?", f"{heights[3]} metres", source="picture")
    return draft.page(f"Over the hills of {name}")
