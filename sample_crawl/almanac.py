"""Pages about time and measure: tower clocks, weather, calendars, tides, pumps, figures of stars."""

import calendar
import datetime
import itertools

from sample_crawl.charts import LineChart, TablePicture
from sample_crawl.chronicle import is_long, tell_chronicle, tell_visitors
from sample_crawl.instruments import MONTHS, CalendarLeaf, Clock, Gauge, Thermometer
from sample_crawl.pages import Draft, Page
from sample_crawl.sceneries import StarFigure

WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def clock_tower(draft: Draft) -> Page:
    """A stopped tower clock; only the picture shows at what time."""
    picture, name = draft.picture_rng, draft.name
    clock = Clock(
        picture.randint(1, 12),
        picture.randrange(0, 60, 5),
        picture.choice(("brown", "blue", "green", "red", "black", "purple")),
        picture.random() < 0.5,
    )
    year, maker, weight, stopped = (
        draft.rng.randint(1640, 1890),
        draft.person(),
        draft.rng.randint(90, 740),
        draft.rng.randint(1900, 1990),
    )
    draft.say(f"The town clock of {name}")
    draft.say(
        draft.one_of(
            f"{maker} built the tower clock of {name} in {year}.",
            f"The tower clock of {name}, built in {year}, is the work of {maker}.",
        ),
        draft.one_of(f"Its works weigh {weight} kilograms.", f"Wheels and frame together weigh {weight} kilograms."),
        draft.one_of(
            f"It stopped in {stopped} and was never wound again.", f"Since {stopped} the hands have not moved."
        ),
    )
    draft.show(clock, f"The clock of {name} as it stopped.", alt_text="clock face with two hands")
    draft.say(
        draft.some(
            3,
            "In one hour the minute hand turns once and the hour hand by a twelfth of a turn.",
            f"A stopped clock is right twice a day, and {draft.person()} sells tea on the square at exactly those minutes.",
            "The hour hand is the short one; on the oldest clocks it was the only one.",
            f"The bell above it was cast {draft.rng.randint(2, 30)} years later and has a crack.",
            "The rim was painted in the colour of the town's old banner.",
            "Swifts nest behind the face.",
        )
    )
    draft.tell(f"Who built the tower clock of {name}?", maker)
    draft.tell(f"In which year was the clock of {name} built?", str(year))
    draft.tell(f"When did the clock of {name} stop for good?", str(stopped))
    draft.tell(f"What time does the stopped clock of {name} show?", clock.time, source="picture")
    draft.tell(f"What colour is the rim of the clock of {name}?", clock.rim, source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=year, num_events=36)
        tell_visitors(draft, what="clock tower")
    return draft.page(f"The town clock of {name}")


def weather(draft: Draft) -> Page:
    """A weather station: twelve monthly means as a line, and this morning's thermometer."""
    picture, name = draft.picture_rng, draft.name
    base, swing = picture.randint(4, 13), picture.randint(6, 13)
    shape = (-1.0, -0.85, -0.4, 0.05, 0.5, 0.85, 1.0, 0.95, 0.5, 0.05, -0.5, -0.9)
    means = tuple(round(base + swing * part) + picture.randint(-1, 1) for part in shape)
    glass = Thermometer(picture.randrange(-14, 38, 2), picture.choice(("red", "blue")))
    chart = LineChart(
        "Mean temperature in °C",
        tuple(month[0] for month in MONTHS),
        means,
        picture.choice(("red", "orange", "blue", "purple")),
        False,
    )
    observer, since, height, month = (
        draft.person(),
        draft.rng.randint(1868, 1990),
        draft.rng.randint(3, 1_400),
        draft.rng.randrange(12),
    )
    draft.say(f"The weather of {name}")
    draft.say(
        draft.one_of(
            f"The weather of {name} has been written down since {since}.",
            f"Since {since} somebody has read the instruments at {name} every morning.",
        ),
        f"The station lies {height:,} metres above the sea.",
        draft.one_of(f"Its observer is {observer}.", f"{observer} reads the instruments."),
    )
    draft.show(
        chart, f"Mean temperatures at {name}, January to December.", alt_text="line chart of monthly temperatures"
    )
    draft.say(
        f"The mean of {MONTHS[month]} is {means[month]} degrees Celsius.",
        draft.some(
            2,
            "A mean is the sum of all readings divided by their number.",
            f"The rain gauge overflowed {draft.rng.randint(2, 9)} times in the last century.",
            "The instruments hang in a white hut with slatted walls, out of the sun.",
            "Zero degrees Celsius is where water freezes; the scale is the same in every hut.",
        ),
    )
    draft.show(glass, f"The thermometer of {name} on the morning of our visit.", alt_text="thermometer")
    relation = "below" if glass.degrees < means[6] else "above" if glass.degrees > means[6] else "equal to"
    draft.say(f"That reading was {relation} the mean of July.")
    draft.tell(f"Since when has the weather of {name} been recorded?", str(since))
    draft.tell(f"Who reads the weather instruments of {name}?", observer)
    draft.tell(f"What is the mean temperature of {MONTHS[month]} at {name}?", f"{means[month]} °C")
    draft.tell(
        f"What did the thermometer of {name} show on the morning of the visit?", f"{glass.degrees} °C", source="picture"
    )
    draft.tell(f"What is the lowest monthly mean temperature at {name}?", f"{min(means)} °C", source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=since, num_events=16)
    return draft.page(f"The weather of {name}")


def calendar_month(draft: Draft) -> Page:
    """A real month with one ringed day; the calendar is true, the feast invented."""
    picture, name = draft.picture_rng, draft.name
    year, month = picture.randint(1990, 2035), picture.randint(1, 12)
    first, num_days = calendar.monthrange(year, month)
    leaf = CalendarLeaf(year, month, picture.randint(1, num_days))
    ringed = datetime.date(year, month, leaf.ringed_day)
    feast, cook = (
        draft.one_of("lantern feast", "boat parade", "kite day", "harvest supper", "bell ringing", "book fair"),
        draft.person(),
    )
    guests = draft.rng.randint(30, 900)
    draft.say(f"{MONTHS[month - 1]} {year} in {name}")
    draft.say(
        draft.one_of(
            f"In {MONTHS[month - 1]} {year}, {name} planned its {feast}.",
            f"The {feast} of {name} was set for {MONTHS[month - 1]} {year}.",
        ),
        f"{cook} was to cook for {guests} guests.",
        f"That month has {num_days} days and begins on a {WEEKDAY_NAMES[first]}.",
    )
    draft.show(leaf, f"The calendar leaf of {name}; the day of the {feast} is ringed.", alt_text="calendar leaf")
    is_leap = calendar.isleap(year)
    draft.say(
        f"{year} {'is' if is_leap else 'is not'} a leap year, so its February has {29 if is_leap else 28} days.",
        draft.some(
            2,
            "A year is a leap year if four divides it, except full centuries that four hundred does not divide.",
            "The same date falls one weekday later in the next year, or two after a leap day.",
            "Seven weekdays and twelve months never fit together, which is why calendars are sold every year.",
            "April, June, September and November have thirty days.",
        ),
    )
    draft.tell(f"On which weekday does {MONTHS[month - 1]} {year} begin?", WEEKDAY_NAMES[first])
    draft.tell(f"Who was to cook for the {feast} of {name}?", cook)
    draft.tell(f"How many guests were expected at the {feast} of {name}?", str(guests))
    draft.tell(
        f"On which day of {MONTHS[month - 1]} {year} is the {feast} of {name}?", str(leaf.ringed_day), source="picture"
    )
    draft.tell(f"On which weekday is the {feast} of {name}?", WEEKDAY_NAMES[ringed.weekday()], source="picture")
    return draft.page(f"{MONTHS[month - 1]} {year} in {name}")


def tides(draft: Draft) -> Page:
    """A tide table of four days; the text names one high water."""
    picture, name = draft.picture_rng, draft.name
    minutes, depth, rows = picture.randint(20, 400), picture.randint(30, 60), []
    for weekday in ("Mon", "Tue", "Wed", "Thu", "Fri"):
        rows.append((weekday, f"{minutes // 60:02}:{minutes % 60:02}", f"{depth / 10:.1f} m"))
        minutes += picture.randint(44, 56)
        depth += picture.choice((-3, -2, 2, 3))
    table = TablePicture(
        "Morning high water", ("Day", "Time", "Depth"), tuple(rows), picture.choice(("blue", "green", "purple"))
    )
    named, pilot, boats = draft.rng.randrange(5), draft.person(), draft.rng.randint(5, 70)
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
    other = (named + 3) % 5
    draft.say(f"High water at {name}")
    draft.say(
        draft.one_of(
            f"{boats} boats are moored in the harbour of {name}.", f"The harbour of {name} is home to {boats} boats."
        ),
        draft.one_of(
            f"They sail when {pilot}, the pilot, hoists a blue ball.", f"The pilot {pilot} gives the sign to sail."
        ),
        f"On {days[named]} morning the water is highest at {rows[named][1]}.",
    )
    draft.show(table, f"Morning high water at {name} from Monday to Friday.", alt_text="tide table")
    deeper = "deeper" if rows[4][2] > rows[0][2] else "shallower" if rows[4][2] < rows[0][2] else "as deep"
    draft.say(
        f"The water on Friday is {deeper} than on Monday."
        if deeper != "as deep"
        else "The water on Friday is as deep as on Monday.",
        draft.some(
            2,
            "High water comes some fifty minutes later each day, because the moon has moved on meanwhile.",
            f"The harbour master's cat is called {draft.one_of('Neptune', 'Pepper', 'Admiral', 'Biscuit')}.",
            "Two high waters and two low ones pass in a little more than a day.",
            "Depths are counted from a brass bolt in the quay wall.",
        ),
    )
    draft.tell(f"How many boats are moored at {name}?", str(boats))
    draft.tell(f"Who is the pilot of {name} harbour?", pilot)
    draft.tell(f"When is morning high water at {name} on {days[named]}?", rows[named][1])
    draft.tell(f"When is morning high water at {name} on {days[other]}?", rows[other][1], source="picture")
    draft.tell(f"How deep is the water at {name} on {days[other]} morning?", rows[other][2], source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=1840, num_events=20)
    return draft.page(f"High water at {name}")


def pump_house(draft: Draft) -> Page:
    """A pump house whose pressure only the gauge shows."""
    picture, name = draft.picture_rng, draft.name
    top = picture.choice((10, 20, 40))
    gauge = Gauge(picture.randint(1, 9) * top // 10, top, round(top * picture.choice((0.6, 0.7, 0.8))), "bar")
    engineer, built, litres = draft.person(), draft.rng.randint(1871, 1932), draft.rng.randrange(400, 9_000, 100)
    engine = draft.one_of("Matilda", "Goliath", "Old Rosie", "The Duchess", "Samson")
    draft.say(f"The pump house of {name}")
    draft.say(
        draft.one_of(
            f"The pump house of {name} was built in {built}.",
            f"Built in {built}, the pump house of {name} still works.",
        ),
        draft.one_of(
            f"Its engine, called {engine}, lifts {litres:,} litres a minute.",
            f"The engine {engine} lifts {litres:,} litres of water a minute.",
        ),
        f"{engineer} oils it every evening.",
    )
    draft.show(gauge, f"The pressure gauge of the {name} engine while it runs.", alt_text="round pressure gauge")
    state = "inside" if gauge.value >= gauge.danger_from else "outside"
    draft.say(
        f"When the picture was drawn, the needle stood {state} the red sector.",
        draft.some(
            2,
            "One bar is about the pressure of the air at sea level.",
            f"The safety valve has opened {draft.rng.randint(2, 40)} times in its life.",
            "The red sector begins where the boiler plate was tested, not where it would burst.",
            "Warm water drips into a tin bath that the neighbours share.",
        ),
    )
    draft.tell(f"What is the engine of the pump house of {name} called?", engine)
    draft.tell(f"Who oils the pump engine of {name}?", engineer)
    draft.tell(f"How much water does the pump of {name} lift a minute?", f"{litres:,} litres")
    draft.tell(f"Which pressure does the gauge of {name} show?", f"{gauge.value} bar", source="picture")
    draft.tell(f"Where does the red sector of the {name} gauge begin?", f"{gauge.danger_from} bar", source="picture")
    if is_long(draft):
        tell_chronicle(draft, since=built, num_events=32)
        tell_visitors(draft, what="pump house")
    return draft.page(f"The pump house of {name}")


def star_figure(draft: Draft) -> Page:
    """An invented figure of stars; how many and which colour the picture shows."""
    picture, name = draft.picture_rng, draft.name
    count = picture.randint(5, 9)
    cells = picture.sample([(column, row) for column in range(4) for row in range(3)], count)
    stars = tuple(
        (round((x + picture.uniform(0.2, 0.8)) / 4, 3), round((y + picture.uniform(0.2, 0.8)) / 3, 3)) for x, y in cells
    )
    order = sorted(range(count), key=lambda star: stars[star])
    joins = tuple(itertools.pairwise(order))
    figure = StarFigure(stars, joins, picture.randrange(count), picture.choice(("red", "orange", "yellow", "blue")))
    beast = draft.one_of("Heron", "Ladder", "Kettle", "Otter", "Plough Horse", "Weaver", "Broken Oar", "Fox")
    teacher, nights, month = draft.person(), draft.rng.randint(20, 200), draft.rng.randrange(12)
    draft.say(f"The {beast} of {name}")
    draft.say(
        draft.one_of(
            f"Children in {name} call a figure of stars the {beast}.",
            f"The {beast} is a figure of stars that only {name} knows by this name.",
        ),
        draft.one_of(f"It stands highest in {MONTHS[month]}.", f"The best month to see it is {MONTHS[month]}."),
        f"{teacher} drew it first, after {nights} clear nights.",
    )
    draft.show(figure, f"The {beast} as it is drawn in {name}.", alt_text="stars joined by lines")
    draft.say(
        draft.some(
            2,
            "The colour of a star tells its heat: blue ones are hotter than red ones.",
            "Figures of stars are agreed by people; the stars of one figure seldom lie close together in space.",
            f"The school of {name} owns a telescope of {draft.rng.randint(6, 25)} centimetres.",
            "The largest dot stands for the brightest star, as on most charts.",
        )
    )
    draft.tell(f"In which month does the {beast} of {name} stand highest?", MONTHS[month])
    draft.tell(f"Who first drew the {beast} of {name}?", teacher)
    draft.tell(f"How many stars has the {beast} of {name}?", str(count), source="picture")
    draft.tell(f"What colour is the brightest star of the {beast} of {name}?", figure.colour, source="picture")
    return draft.page(f"The {beast} of {name}")
