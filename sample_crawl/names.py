"""Invented names: each page index has a place name of its own."""

import random

from training_kernels.errors import ConfigError

PREFIXES = ("", "Great ", "Little ", "Upper ", "Lower ", "New ", "Old ", "East ")
STARTS = (
    "Bar", "Cal", "Dun", "Fen", "Gar", "Hol", "Ith", "Kel", "Lor", "Mar", "Nor", "Ost", "Pel", "Quen", "Ros", "Sel",
    "Tar", "Ulm", "Ven", "Wes", "Yar", "Zel", "Brin", "Cron", "Drav", "Eld", "Fal", "Grim", "Har", "Inver", "Jor",
    "Kir", "Lun", "Mor", "Nev", "Orl", "Pen", "Rav", "Stal", "Thor",
)  # fmt: skip
MIDDLES = ("a", "e", "i", "o", "an", "en", "in", "ar", "er", "or", "el", "il", "ow", "un", "ave")
ENDS = (
    "mouth", "ford", "wick", "by", "ness", "holm", "stead", "combe", "ton", "dale", "mere", "haven", "port", "wold",
    "gate", "bury", "leigh", "strand", "beck", "fell", "brook", "cliff", "moor", "thorpe", "den", "vik", "sund",
    "garth", "hythe", "ley",
)  # fmt: skip

NAMES_PER_PREFIX = len(STARTS) * len(MIDDLES) * len(ENDS)
MAX_PAGES = NAMES_PER_PREFIX * len(PREFIXES)

FIRST_NAMES = (
    "Ada", "Anselm", "Beatrix", "Bruno", "Clara", "Conrad", "Dora", "Edmund", "Elsa", "Felix", "Frieda", "Gregor",
    "Hanna", "Henrik", "Ida", "Ivo", "Johanna", "Jasper", "Katja", "Konstantin", "Lena", "Lukas", "Martha", "Magnus",
    "Nora", "Oskar", "Paula", "Piet", "Rosa", "Ruben", "Selma", "Stefan", "Thea", "Theodor", "Ursula", "Viktor",
)  # fmt: skip
LAST_NAMES = (
    "Abelin", "Arkwell", "Bexter", "Brandvold", "Carrow", "Dahlquist", "Elverson", "Farthing", "Gellert", "Holloway",
    "Iversen", "Jessop", "Kestrel", "Lindqvist", "Marlowe", "Nettleship", "Oakes", "Penrose", "Quillfeather", "Rasmus",
    "Sandoval", "Thackeray", "Umber", "Vasquez", "Whitlock", "Yarrow", "Zeller", "Birch", "Corrigan", "Dunmore",
)  # fmt: skip


def place_name(index: int, *, seed: int) -> str:
    """The place of a page. No two of the first MAX_PAGES indices share one. Raises ConfigError beyond them."""
    if not 0 <= index < MAX_PAGES:
        raise ConfigError(f"page index {index} has no name left, allowed 0 to {MAX_PAGES - 1}; ask for fewer pages")
    prefix, rest = divmod(index, NAMES_PER_PREFIX)
    # 7,919 is prime and no factor of NAMES_PER_PREFIX, so this is a permutation that scatters neighbours.
    rest = (rest * 7_919 + seed * 104_729) % NAMES_PER_PREFIX
    rest, end = divmod(rest, len(ENDS))
    start, middle = divmod(rest, len(MIDDLES))
    return PREFIXES[prefix] + STARTS[start] + MIDDLES[middle] + ENDS[end]


def person_name(rng: random.Random) -> str:
    """A first and a last name; not unique."""
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
