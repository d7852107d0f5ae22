"""What must hold of training data before it is trained on, so that evaluation measures what was not learnt by heart."""

import hashlib
from collections.abc import Collection, Iterator
from functools import cache

from nyx_assets.evaluation.suites import Suite, read_suite
from nyx_assets.leaks import PictureHash, QuestionSet, in_two_splits, leaks
from nyx_assets.materialization import blocking_check
from nyx_assets.near_copies import near_copy_clusters, picture_hash
from nyx_assets.query_pictures import query_picture_store
from nyx_assets.rag.corpus import chunk_documents
from nyx_assets.recipes import nyx_paper
from resources.home import Home
from resources.public_sets import SUFFIXES, PublicSets
from training_kernels.documents import Document

SUITES = "suites"
"""Folder of the home: suite folders in it are guarded, so that nothing is trained on what they ask."""

HELD_OUT = ("dev", "test")


def no_page_or_near_copy_stands_in_two_splits(home: Home, partition: str | None) -> list[str]:
    """Over all crawls, no page, no golden chunk, no near copy of one and no cluster of pages is in two splits."""
    faults = _in_two_splits(home)
    return faults["page"] + faults["chunk"] + faults["cluster"]


def no_picture_stands_in_two_splits(home: Home, partition: str | None) -> list[str]:
    """Over all crawls, no picture of a question or golden chunk, and no near copy of one, is in two splits.

    Pictures on very many pages (page_furniture), such as a site's logo, may be: they tell no page from another.
    """
    return _in_two_splits(home)["picture"]


def no_suite_stands_in_training(home: Home, partition: str | None) -> list[str]:
    """No query of an evaluation suite, and no answer, is a near copy of what is trained on.

    Suites are the folders under `suites/` of the home, held against NyxQA's training pairs and the public examples; and
    NyxQA's own held-out questions, held against the public examples.
    """
    public, nyxqa = public_questions(home), nyxqa_questions(home, ("train",))
    hash_of = picture_hashes(home)
    faults = [f"nyxqa: {leak}" for leak in leaks(public, nyxqa_questions(home, HELD_OUT), hash_of=hash_of)]
    for suite in guarded_suites(home):
        training = QuestionSet({**public.queries, **nyxqa.queries}, {**public.answers, **nyxqa.answers})
        faults += [f"{suite.name}: {leak}" for leak in leaks(training, questions_of(suite), hash_of=hash_of)]
    return faults


def share_suites(home: Home) -> None:
    """Have the suites of all hosts here, and those of this one there."""
    home.mirror.send(SUITES)
    home.mirror.bring(SUITES)


def suites_fingerprint(home: Home) -> str:
    """Changes when a suite comes, goes or is written again, and is the same on all hosts; nothing is sent or brought."""
    if not home.is_shared:
        folder = home.root / SUITES
        return PublicSets(folder if folder.is_dir() else None).fingerprint()
    tags = home.mirror.tags(SUITES)
    lines = [f"{name} {tag}" for name, tag in sorted(tags.items()) if name.endswith(SUFFIXES)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def guarded_suites(home: Home) -> Iterator[Suite]:
    """The suites in the home's suites folder, by name. Raises DataError if one breaks its format."""
    share_suites(home)
    folder = home.root / SUITES
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        if one.is_dir():
            # the limits are those of the published recipe: a guard must not depend on what is being tried
            yield read_suite(one, query_picture_store(), limits=nyx_paper().pictures)


def questions_of(suite: Suite) -> QuestionSet:
    """A suite's queries and their golds."""
    golds = {gold for query in suite.queries for gold in query.grade_by_id}
    return QuestionSet(
        {query.query_id: query.document for query in suite.queries}, {gold: suite.candidates[gold] for gold in golds}
    )


def nyxqa_questions(home: Home, splits: Collection[str]) -> QuestionSet:
    """Questions and golden chunks of filtered_qa in some splits."""
    columns = ["qa_id", "chunk_id", "question", "split"]
    pairs = [row for row in home.tables.read("filtered_qa", columns=columns).to_pylist() if row["split"] in splits]
    golden = {pair["chunk_id"] for pair in pairs}
    return QuestionSet(
        {pair["qa_id"]: Document.from_rows(pair["question"]) for pair in pairs},
        {chunk_id: chunk for chunk_id, chunk in chunk_documents(home).items() if chunk_id in golden},
    )


def public_questions(home: Home) -> QuestionSet:
    """Queries and positives of the public training examples, by example_id."""
    rows = home.tables.read("public_examples", columns=["example_id", "query", "positive"]).to_pylist()
    return QuestionSet(
        {row["example_id"]: Document.from_rows(row["query"]) for row in rows},
        {row["example_id"]: Document.from_rows(row["positive"]) for row in rows},
    )


def _in_two_splits(home: Home) -> dict[str, list[str]]:
    columns = ["doc_id", "chunk_id", "question", "split"]
    return in_two_splits(
        home.tables.read("filtered_qa", columns=columns).to_pylist(),
        chunk_documents(home),
        clusters={
            "cluster": {row["doc_id"]: row["cluster"] for row in home.tables.read("page_clusters").to_pylist()},
            **{kind: near_copy_clusters(home, kind) for kind in ("page", "chunk", "picture")},
        },
        furniture={(row["kind"], row["id"]) for row in home.tables.read("page_furniture").to_pylist()},
    )


def picture_hashes(home: Home) -> PictureHash:
    """Perceptual hashes: those of pages' pictures are kept, others are computed, each once."""
    kept = {
        row["image"]: row["phash"]
        for row in home.tables.read("picture_signatures", columns=["image", "phash"]).to_pylist()
    }
    stores = (home.images, query_picture_store())

    @cache
    def hash_of(digest: str) -> str | None:
        if digest in kept:
            return kept[digest]
        return picture_hash(next((store for store in stores if store.exists(digest)), home.images).open(digest))

    return hash_of


EVALUATION_CHECKS = [
    blocking_check("training_manifest", partitioned=False, find_faults=find_faults)
    for find_faults in (
        no_page_or_near_copy_stands_in_two_splits,
        no_picture_stands_in_two_splits,
        no_suite_stands_in_training,
    )
]
