"""Questions with known answers about a sample crawl, each with the page that answers it."""

from collections.abc import Iterator
from dataclasses import dataclass

from sample_crawl.catalogue import CrawlPlan
from sample_crawl.dirt import delivered
from sample_crawl.pages import Source


@dataclass(frozen=True, slots=True)
class Question:
    """One fact of one delivered page."""

    crawl: str
    row: int
    url: str
    question: str
    answer: str
    """One to five words, or a Chinese phrase."""
    source: Source
    """"picture" where no text of the page holds the answer."""


def questions(plan: CrawlPlan) -> Iterator[Question]:
    """Every question of the crawl in order of partition and row; draws no picture.

    Pages that repeat another page ask nothing anew.
    """
    for number, crawl in enumerate(plan.keys):
        for row in range(len(plan.rows(number))):
            page = delivered(plan, number, row)
            if page.dirt is not None and page.dirt.rule.endswith("_page"):
                continue
            for fact in page.facts:
                yield Question(crawl, row, page.page.url, fact.question, fact.answer, fact.source)
