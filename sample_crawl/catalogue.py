"""Which page stands in which row of which delivery."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sample_crawl import abroad, almanac, atlas, games, towns, workshop
from sample_crawl.names import MAX_PAGES
from sample_crawl.pages import Draft, Page
from training_kernels.errors import ConfigError

Kind = Callable[[Draft], Page]

ATLAS: tuple[Kind, ...] = (
    atlas.lighthouse,
    towns.market,
    atlas.flag,
    atlas.island,
    towns.tram,
    atlas.hill_walk,
    towns.census,
    towns.station,
    abroad.faro,
    abroad.mercado,
)
ALMANAC: tuple[Kind, ...] = (
    almanac.clock_tower,
    almanac.weather,
    almanac.calendar_month,
    almanac.tides,
    almanac.pump_house,
    almanac.star_figure,
    abroad.zhong_lou,
)
WORKSHOP: tuple[Kind, ...] = (
    workshop.weaving,
    workshop.gears,
    games.dice,
    games.noughts,
    workshop.triangle,
    workshop.beads,
    games.rook_study,
    games.shape_cards,
    games.dominoes,
    workshop.tile_area,
    workshop.abacus,
    abroad.suan_pan,
)

THEMED_CRAWLS = (("2026-01-atlas", ATLAS), ("2026-02-almanac", ALMANAC), ("2026-03-workshop", WORKSHOP))
ALL_KINDS = ATLAS + ALMANAC + WORKSHOP


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlPlan:
    """Size and seed of a crawl; together they decide every byte of it."""

    num_pages: int
    num_partitions: int
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_partitions <= self.num_pages <= MAX_PAGES:
            raise ConfigError(
                f"a crawl needs 1 <= num_partitions <= num_pages <= {MAX_PAGES}, "
                f"got num_pages={self.num_pages}, num_partitions={self.num_partitions}"
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """Partition keys in order: three themes, then numbered mixtures of all kinds."""
        return tuple(
            THEMED_CRAWLS[number][0] if number < len(THEMED_CRAWLS) else f"batch-{number:04}"
            for number in range(self.num_partitions)
        )

    def rows(self, number: int) -> range:
        """Page indices of a partition; partitions differ by at most one page in size."""
        return range(
            number * self.num_pages // self.num_partitions, (number + 1) * self.num_pages // self.num_partitions
        )

    def page(self, number: int, row: int) -> Page:
        """The clean page of a partition's row."""
        kinds = THEMED_CRAWLS[number][1] if number < len(THEMED_CRAWLS) else ALL_KINDS
        kind = kinds[row % len(kinds)]
        return kind(Draft(kind.__name__, seed=self.seed, index=self.rows(number)[row]))

    def pages(self) -> Iterator[tuple[int, int, Page]]:
        """(partition number, row, clean page) in order, one at a time."""
        for number in range(self.num_partitions):
            for row in range(len(self.rows(number))):
                yield number, row, self.page(number, row)
