"""Draws and writes a crawl of web pages that are true by construction, with pictures that know what the texts leave out.

`generate` writes it, `expected_dirt` lists what is wrong with it on purpose, `questions` asks what it tells.
"""

from sample_crawl.catalogue import CrawlPlan
from sample_crawl.delivery import generate
from sample_crawl.dirt import Dirt, expected_dirt
from sample_crawl.questions import Question, questions

__all__ = ["CrawlPlan", "Dirt", "Question", "expected_dirt", "generate", "questions"]
