"""The leak guard and the leak checks on the real data beside a checkout: python -m benchmarks.leaks [--home HOME].

Public sets against suites: each question set of shared/data/qa as a training set, its examples drawn and guarded as
`public_training_sets` does it, against the other question sets and the retrieval suites; what the guard lets through must
pass the comparison of the blocking check. Planted: every set against itself, and rows that show pictures of the suites as
they are, saved again and resized. With a home: the blocking checks of its splits, and the retrieval queries of its
held-out pages against its training pairs.
"""

import argparse
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.retrieval_suites import make_suites
from nyx_assets.definitions import build_pipeline
from nyx_assets.evaluation.checks import (
    no_page_or_near_copy_stands_in_two_splits,
    no_picture_stands_in_two_splits,
    nyxqa_questions,
    picture_hashes,
    questions_of,
)
from nyx_assets.evaluation.suites import Suite, read_suite
from nyx_assets.leaks import QuestionSet, leaks
from nyx_assets.query_pictures import query_picture_store
from nyx_assets.recipes import MixtureRecipe, SetShare, nyx_paper
from nyx_assets.records import PICTURE_SIGNATURES
from nyx_assets.training.leak_guard import HeldOut
from nyx_assets.training.mixture import PublicExample, Refused, mixed
from nyx_assets.training.public_sets import examples_of_row
from resources.home import Home
from resources.public_sets import PublicSets
from resources.settings import Settings
from resources.tables import Provenance
from training_kernels.documents import Document

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TRAINING_SETS = ("2wikimultihopqa_dev", "hotpotqa_dev", "musique_ans")
QUESTIONS_ONLY = ("bamboogle", "textbook_review")
PLANTED_PICTURES = 60
ALL = MixtureRecipe(name="all", shares=(SetShare(match="*", cap=10**6, weight=1.0),), max_negatives=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with qa/, retrieval/ and interleaved/")
    parser.add_argument("--home", type=Path, help="a home made of shared/data/interleaved, at least up to filtered_qa")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nyx-leaks-") as folder:
        suites = list(retrieval_suites(options.shared, Path(folder)))
        questions = {suite.name: questions_of(suite) for suite in suites}
        pool = {image for suite in suites for document in suite.candidates.values() for image in document.images}
        results = public_sets(options.shared, Path(folder), questions, pool)
        if options.home is not None:
            results["home"] = of_home(Home.at(options.home), options.shared, questions)
    print(json.dumps(results, indent=1))


def retrieval_suites(shared: Path, folder: Path) -> Iterator[Suite]:
    for one in make_suites(shared, folder / "suites"):
        yield read_suite(one, query_picture_store(), limits=nyx_paper().pictures)


def public_sets(
    shared: Path, folder: Path, retrieval: Mapping[str, QuestionSet], pool: Iterable[str]
) -> dict[str, Any]:
    """For each training set: examples, refused by rule, and what the check would still find among the rest."""
    root = folder / "sets"
    root.mkdir()
    asked: dict[str, QuestionSet] = {}
    for name in (*TRAINING_SETS, *QUESTIONS_ONLY):
        rows = [json.loads(line) for line in (shared / "qa" / f"{name}.jsonl").open(encoding="utf-8")]
        asked[name] = question_set(rows)
        if name in TRAINING_SETS:
            (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    num_planted = plant_pictures(root / "planted", retrieval["retrieval_image"])
    free = set(pool) - {
        image
        for suite in retrieval.values()
        for side in (suite.queries, suite.answers)
        for one in side.values()
        for image in one.images
    }
    num_free = other_pictures(root / "other_pictures", sorted(free))
    home = Home.at(folder / "home")
    made = Provenance(code_version="benchmark")
    with home.tables.write("picture_signatures", PICTURE_SIGNATURES, partition="none", provenance=made):
        pass  # no page has a picture here, so every hash is computed
    hash_of = picture_hashes(home)
    results: dict[str, Any] = {}
    for name in (*TRAINING_SETS, "planted", "other_pictures"):
        one = folder / "one" / name
        one.parent.mkdir(exist_ok=True)
        one.mkdir()
        for file in (root / name).iterdir() if (root / name).is_dir() else [root / f"{name}.jsonl"]:
            file.rename(one / file.name)
        held_out = {suite: questions for suite, questions in {**asked, **retrieval}.items() if suite != name}
        results[name] = guarded(home, one, held_out, hash_of)
        if name in asked:
            itself = guarded(home, one, {name: asked[name]}, hash_of)
            results[name]["planted: against itself"] = {key: itself[key] for key in ("examples", "passed")}
    results["planted"]["rows that show a suite's picture"] = num_planted
    results["other_pictures"]["rows that show none of a suite's pictures"] = num_free
    return results


def question_set(rows: Iterable[Mapping[str, Any]]) -> QuestionSet:
    """Questions, and the gold passages of those that have some."""
    answers = {}
    rows = list(rows)
    for row in rows:
        if row.get("gold_ids") and row.get("passages"):
            for place, example in enumerate(examples_of_row(row)):
                answers[f"{row['id']}/{place}"] = example.positive.with_digests({})
    return QuestionSet({str(row["id"]): Document.of(row["question"]) for row in rows}, answers)


def plant_pictures(folder: Path, suite: QuestionSet) -> int:
    """A set whose rows show pictures of the suite in three states, a third of the rows each; returns their number."""
    folder.mkdir()
    store, rows = query_picture_store(), []
    digests = sorted({image for answer in suite.answers.values() for image in answer.images})[:PLANTED_PICTURES]
    for number, digest in enumerate(digests):
        picture = store.open(digest).convert("RGB")
        half = picture.resize((picture.width // 2, picture.height // 2))
        for state, shown, quality in (("kept", None, 0), ("saved", picture, 60), ("halved", half, 85)):
            data = io.BytesIO()
            if shown is None:
                data.write(store.fs.cat_file(store.path(digest)))
            else:
                shown.save(data, "JPEG", quality=quality)
            (folder / f"{number}-{state}.jpg").write_bytes(data.getvalue())
            rows.append(picture_row(f"{number}-{state}"))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def other_pictures(folder: Path, digests: Sequence[str]) -> int:
    """A set whose rows show pictures of the same pages that no suite asks about; returns the number of rows."""
    folder.mkdir()
    store, rows = query_picture_store(), []
    for digest in digests:
        (folder / f"{digest}.jpg").write_bytes(store.fs.cat_file(store.path(digest)))
        rows.append(picture_row(digest))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def picture_row(name: str) -> dict[str, str]:
    """A row of MMEB's schema that asks about a picture."""
    return {
        "qry": f"<|image_1|> What does picture {name} show?",
        "qry_image_path": f"{name}.jpg",
        "pos_text": f"answer {name}",
    }


def guarded(home: Home, sets: Path, held_out: Mapping[str, QuestionSet], hash_of: Any) -> dict[str, Any]:
    """What becomes of the examples of a folder of sets, and what of the rest leaks by the blocking check's measure."""
    outcomes = list(
        mixed(
            PublicSets(sets),
            home.images,
            recipe=ALL,
            limits=nyx_paper().pictures,
            seed=0,
            leak_guard=HeldOut(held_out, hash_of).leaks,
        )
    )
    passed = [one for one in outcomes if isinstance(one, PublicExample)]
    refused = [one for one in outcomes if isinstance(one, Refused)]
    training = QuestionSet(
        {one.example_id: one.query for one in passed}, {one.example_id: one.positive for one in passed}
    )
    return {
        "examples": len(outcomes),
        "passed": len(passed),
        "refused": dict(Counter(f"{one.rule} of {one.reason.partition(':')[0]}" for one in refused)),
        "example": next((one.reason for one in refused), ""),
        "left_for_the_check": sum(len(leaks(training, suite, hash_of=hash_of)) for suite in held_out.values()),
    }


def of_home(home: Home, shared: Path, suites: Mapping[str, QuestionSet]) -> dict[str, Any]:
    """Faults of the splits, and leaks of the retrieval queries about held-out pages into the training pairs."""
    splits = Counter(home.tables.read("filtered_qa", columns=["split"])["split"].to_pylist())
    split_by_doc = dict(split_of_pages(home, shared))
    rows = [json.loads(line) for line in (shared / "retrieval" / "queries.jsonl").open(encoding="utf-8")]
    split_by_query = {row["qid"]: split_by_doc.get(row["doc_id"], "unknown") for row in rows}
    golds = {row["qid"]: row["gold_ids"] for row in rows}
    train, hash_of = nyxqa_questions(home, ("train",)), picture_hashes(home)
    found: dict[str, dict[str, Any]] = {}
    for name, suite in suites.items():
        for side, splits_of_side in (("held-out pages", ("dev", "test")), ("training pages", ("train",))):
            asked = {qid: query for qid, query in suite.queries.items() if split_by_query[qid] in splits_of_side}
            answers = {gold: suite.answers[gold] for qid in asked for gold in golds[qid] if gold in suite.answers}
            leaked = leaks(train, QuestionSet(asked, answers), hash_of=hash_of)
            found.setdefault(name, {})[side] = {
                "queries": len(asked),
                "leaks": len(leaked),
                "example": str(leaked[0]) if leaked else "",
            }
    return {
        "pairs": dict(splits),
        "pages and near copies in two splits": len(no_page_or_near_copy_stands_in_two_splits(home, None)),
        "pictures in two splits": len(no_picture_stands_in_two_splits(home, None)),
        "retrieval suites against training pairs": found,
    }


def split_of_pages(home: Home, shared: Path) -> Iterator[tuple[str, str]]:
    """Split of every page by the name that the shared data gives it."""
    from nyx_assets.nyxqa.splits import split_of

    recipe = build_pipeline(Settings.from_env({"NYX_HOME": str(home.root)}), home).resources["recipe"]
    split = {
        row["doc_id"]: split_of(
            row["cluster"], seed=recipe.seed, dev_share=recipe.qa.dev_share, test_share=recipe.qa.test_share
        )
        for row in home.tables.read("page_clusters").to_pylist()
    }
    names: dict[tuple[str, int], str] = {}
    for file in sorted((shared / "interleaved").glob("*.parquet")):
        metadata = pq.read_table(file, columns=["general_metadata"])["general_metadata"].to_pylist()
        names |= {(file.name, number): json.loads(one)["doc_id"] for number, one in enumerate(metadata)}
    pages = home.tables.read("crawl_documents", columns=["doc_id", "source_file", "source_row"]).to_pylist()
    for page in pages:
        yield names[Path(page["source_file"]).name, page["source_row"]], split[page["doc_id"]]


if __name__ == "__main__":
    sys.exit(main())
