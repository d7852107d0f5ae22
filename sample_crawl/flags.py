"""Real flags of plain stripes or one cross, with the countries' capitals."""

from dataclasses import dataclass

from sample_crawl.pages import Draft


@dataclass(frozen=True, slots=True)
class Land:
    """A country, its capital and its flag; `stripes` are (colour name, hexadecimal paint) in the order of the design."""

    country: str
    capital: str
    design: str
    stripes: tuple[tuple[str, str], ...]

    @property
    def paints(self) -> tuple[str, ...]:
        return tuple(paint for _, paint in self.stripes)

    def colours_in_words(self) -> str:
        """The distinct colour names, in the order of the design: 'red and white'."""
        names = list(dict.fromkeys(name for name, _ in self.stripes))
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


_RED, _WHITE, _GREEN, _BLACK = ("red", "#CE2B37"), ("white", "#FFFFFF"), ("green", "#12924A"), ("black", "#1A1A1A")
_YELLOW, _BLUE, _ORANGE, _SKY = (
    ("yellow", "#FCD116"),
    ("blue", "#0A3D91"),
    ("orange", "#F58220"),
    ("light blue", "#3AA6E0"),
)

FLAGS = (
    Land("France", "Paris", "vertical", (_BLUE, _WHITE, _RED)),
    Land("Italy", "Rome", "vertical", (_GREEN, _WHITE, _RED)),
    Land("Ireland", "Dublin", "vertical", (_GREEN, _WHITE, _ORANGE)),
    Land("Belgium", "Brussels", "vertical", (_BLACK, _YELLOW, _RED)),
    Land("Romania", "Bucharest", "vertical", (_BLUE, _YELLOW, _RED)),
    Land("Mali", "Bamako", "vertical", (_GREEN, _YELLOW, _RED)),
    Land("Guinea", "Conakry", "vertical", (_RED, _YELLOW, _GREEN)),
    Land("Nigeria", "Abuja", "vertical", (_GREEN, _WHITE, _GREEN)),
    Land("Germany", "Berlin", "horizontal", (_BLACK, _RED, ("gold", "#FFCE00"))),
    Land("the Netherlands", "Amsterdam", "horizontal", (_RED, _WHITE, _BLUE)),
    Land("Austria", "Vienna", "horizontal", (_RED, _WHITE, _RED)),
    Land("Hungary", "Budapest", "horizontal", (_RED, _WHITE, _GREEN)),
    Land("Bulgaria", "Sofia", "horizontal", (_WHITE, _GREEN, _RED)),
    Land("Estonia", "Tallinn", "horizontal", (_BLUE, _BLACK, _WHITE)),
    Land("Lithuania", "Vilnius", "horizontal", (_YELLOW, _GREEN, _RED)),
    Land("Poland", "Warsaw", "horizontal", (_WHITE, _RED)),
    Land("Ukraine", "Kyiv", "horizontal", (_BLUE, _YELLOW)),
    Land("Armenia", "Yerevan", "horizontal", (_RED, _BLUE, _ORANGE)),
    Land("Sierra Leone", "Freetown", "horizontal", (_GREEN, _WHITE, _SKY)),
    Land("Gabon", "Libreville", "horizontal", (_GREEN, _YELLOW, _BLUE)),
    Land("Mauritius", "Port Louis", "horizontal", (_RED, _BLUE, _YELLOW, _GREEN)),
    Land("Sweden", "Stockholm", "cross", (_BLUE, _YELLOW)),
    Land("Denmark", "Copenhagen", "cross", (_RED, _WHITE)),
    Land("Finland", "Helsinki", "cross", (_WHITE, _BLUE)),
)
"""In plain proportions and paints: only the colours' names and their order are meant to be true. Countries with an
emblem on the flag, or with a capital that moves, are left out."""


def flag_sentence(land: Land, draft: Draft) -> str:
    """What a text may tell of a flag without its colours."""
    if land.design == "cross":
        return draft.one_of("It is one cross on a plain field.", "A single cross divides the plain field.")
    count = ("two", "three", "four")[len(land.stripes) - 2]
    lying = "lie one above the other" if land.design == "horizontal" else "stand side by side"
    return draft.one_of(f"Its {count} equal stripes {lying}.", f"It has {count} stripes of equal width, which {lying}.")
