"""The command `python -m sample_crawl FOLDER`: writes a sample crawl, and its questions where asked."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sample_crawl import CrawlPlan, expected_dirt, generate, questions
from training_kernels.errors import NyxError


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the crawl lies in its folder, 1 with a message when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m sample_crawl", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the crawl goes: new, empty, or the same crawl")
    parser.add_argument("--pages", type=int, default=72, help="rows in all deliveries together (default %(default)s)")
    parser.add_argument("--partitions", type=int, default=3, help="deliveries (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default %(default)s)")
    parser.add_argument("--questions", type=Path, help="also write questions with answers to this JSON Lines file")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started = time.monotonic()
    try:
        plan = CrawlPlan(num_pages=options.pages, num_partitions=options.partitions, seed=options.seed)
        generate(options.folder, **asdict(plan))
    except NyxError as error:
        print(error, file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    if options.questions is not None:
        with options.questions.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(question), ensure_ascii=False) + "\n" for question in questions(plan))
    print(
        f"{options.folder}: {plan.num_pages:,} pages in {plan.num_partitions} deliveries, "
        f"{sum(1 for _ in expected_dirt(plan))} planted faults, {seconds:.1f} s, {plan.num_pages / seconds:,.0f} pages/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
