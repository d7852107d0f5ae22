"""Speed of split_into_chunks against the bare tokenizer on the same texts: python -m benchmarks.chunking [--json]."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.report import argument_parser, compare_speed, print_comparison
from nyx_assets.corpus.chunking import split_into_chunks
from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.obelics import WebPage, read_pages
from nyx_assets.recipes import tiny
from training_kernels.tokenizer import TINY_TOKENIZER, load_text_tokenizer

REAL_PAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "interleaved"
SAMPLE_PAGES = 500


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--crawl", type=Path, help="crawl folder to take texts from (default: the real pages, or a generated crawl)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = list(_documents(options.crawl or _crawl_folder(Path(folder))))
    texts = [segment["text"] for row in documents for segment in row["segments"] if segment["text"] is not None]
    recipe = tiny()
    tokenizer = load_text_tokenizer(recipe.backbone)
    bare = Tokenizer.from_file(str(TINY_TOKENIZER))
    comparison = compare_speed(
        "chunking",
        ours=lambda: list(split_into_chunks(documents, tokenizer=tokenizer, recipe=recipe.chunking)),
        peer=lambda: bare.encode_batch_fast(texts, add_special_tokens=False),
        amount=sum(map(len, texts)) / 1e6,
        unit="million characters/s",
    )
    print_comparison(comparison, as_json=options.json)


def _crawl_folder(scratch: Path) -> Path:
    """The real pages where they lie beside the checkout, else generated ones."""
    if REAL_PAGES.is_dir():
        return REAL_PAGES
    from sample_crawl.delivery import generate

    return generate(scratch / "crawl", num_pages=SAMPLE_PAGES, seed=0)


def _documents(crawl_folder: Path) -> Iterator[dict[str, Any]]:
    """Pages as chunking takes them, pictures named by their reference: their files make no difference here."""
    for delivery in find_deliveries(crawl_folder).deliveries:
        for page in read_pages(delivery):
            if isinstance(page, WebPage):
                segments = [
                    {"kind": "text", "text": part, "image": None}
                    if isinstance(part, str)
                    else {"kind": "image", "text": None, "image": part.reference}
                    for part in page.parts
                ]
                yield {"doc_id": f"{page.source_file}#{page.source_row}", "segments": segments}


if __name__ == "__main__":
    main()
