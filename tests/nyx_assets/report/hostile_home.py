"""A home whose tables hold text that would run, style or break a page, wherever a crawl or a model has a say."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from nyx_assets.recipes import tiny
from nyx_assets.report.examples import TREC
from resources.home import Home
from resources.tables import Provenance

HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'><style>*{display:none}</style>"
    '" onmouseover="window.hit = 1 {{ 7 * 7 }} </details></section> \u202e\x00 ' + "W" * 300
)
RETRIEVERS = ("bm25", "untrained", "pretrained", "finetuned")
SCORE = {"bm25": 0.5, "untrained": 0.3, "pretrained": 0.55, "finetuned": 0.7}


def write(home: Home, name: str, rows: Sequence[Mapping[str, Any]], partition: str | None = None) -> None:
    """Rows of a table with the columns that they have."""
    schema = pa.Table.from_pylist(list(rows)).schema
    with home.tables.write(name, schema, partition=partition, provenance=Provenance(code_version="1")) as writer:
        writer.append(rows)


def segments(*parts: str, image: str) -> list[dict[str, Any]]:
    return [
        *({"kind": "text", "text": part, "image": None} for part in parts),
        {"kind": "image", "text": None, "image": image},
    ]


def write_differences(home: Home, *, low: float, high: float) -> None:
    """The tuned retriever beside the untrained one, with this interval."""
    row = {
        "suite": "nyxqa", "split": "test", "metric": "ndcg@10", "retriever": "finetuned", "against": "untrained",
        "value": 0.7, "against_value": 0.3, "difference": 0.4, "interval_low": low, "interval_high": high,
        "p_value": 0.0004, "num_queries": 40, "is_stand_in": True,
    }  # fmt: skip
    write(home, "retrieval_differences", [row])


def hostile_home(folder: Path) -> Home:
    """A home with rows for every section of the page."""
    home = Home.at(folder)
    data = io.BytesIO()
    Image.new("RGBA", (600, 400), (200, 30, 60, 128)).save(data, "PNG")
    image = home.images.put(data.getvalue(), limits=tiny().pictures).digest
    body = segments(HOSTILE, "and more", image=image)
    write(home, "crawl_documents", [{"doc_id": "d", "title": HOSTILE, "url": "https://a.example"}], "one")
    write(home, "chunked_corpus", [{"chunk_id": f"c{n}", "segments": body} for n in range(4)], "one")
    pairs = [
        {
            "qa_id": f"q{n}", "chunk_id": f"c{n}", "doc_id": "d", "question": body, "answer": HOSTILE,
            "is_stand_in": True,
        }
        for n in range(3)
    ]  # fmt: skip
    write(home, "filtered_qa", pairs, "one")
    write(home, "rejected_qa", [{**pairs[0], "rule": "too_short", "reason": HOSTILE}], "one")
    write(home, "rejected_documents", [{"kind": "page", "rule": HOSTILE, "reason": HOSTILE}], "one")
    write(home, "link_rot", [{"host": HOSTILE, "rule": "not_found", "num_references": 3}], "one")
    scores = [
        {
            "retriever": name, "suite": "nyxqa", "split": "test", "dim": dim, "modality": "all", "metric": metric,
            "value": value, "num_queries": 40, "is_stand_in": True,
        }
        for name, value in SCORE.items()
        for dim in ([0] if name == "bm25" else [16, 64])
        for metric in ("recall@1", "recall@10", "mrr", "ndcg@10")
    ]  # fmt: skip
    write(home, "retrieval_scores", scores)
    write_differences(home, low=0.1, high=0.7)
    answer = {"answer": HOSTILE, "golden_answer": HOSTILE, "oracle_answer": HOSTILE}
    write(
        home,
        "wrong_answers",
        [{"qa_id": "q0", "retriever": "finetuned", "blame": "misread", "golden_rank": 1} | answer],
    )
    blame = {"retriever": "finetuned", "outcome": "misread", "num_answers": 2, "share": 1.0, "oracle_right_share": 0.5}
    write(home, "blame_split", [{**blame, "generator": HOSTILE}, {**blame, "generator": "another"}])
    funnel = {
        "step": 1, "check": "too_short", "unit": "pair", "threshold": 3.0, "num_in": 4, "num_out": 3,
        "num_rejected": 1, "num_marked": 0, "num_refined": 0, "num_calls": 2, "num_refused_calls": 0,
        "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5, "asked": HOSTILE, "is_stand_in": False,
        "rejected_by_rule": [{"rule": "too_short", "number": 1}],
    }  # fmt: skip
    write(home, "qa_funnel", [funnel], "one")
    (home.root / TREC).mkdir(parents=True)
    (home.root / TREC / "nyxqa.test.qrels").write_text("".join(f"q{n} 0 c{n} 1\n" for n in range(3)))
    for name in RETRIEVERS:
        lines = [
            f"q{n} Q0 c{(n + rank) % 4} {rank + 1} {0.9 - rank / 10} {name}\n" for n in range(3) for rank in range(4)
        ]
        (home.root / TREC / f"nyxqa.test.{name}.run").write_text("".join(lines))
    return home
