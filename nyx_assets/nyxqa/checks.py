"""What must hold of question-answer pairs before anything is trained on them."""

from collections import Counter

from nyx_assets.materialization import blocking_check
from resources.home import Home


def every_draft_is_kept_or_rejected(home: Home, partition: str | None) -> list[str]:
    """Each row of raw_qa is in filtered_qa or in rejected_qa, exactly once."""

    def ids(name: str) -> list[str]:
        return home.tables.read(name, partition=partition, columns=["qa_id"])["qa_id"].to_pylist()

    drafts, sorted_out = Counter(ids("raw_qa")), Counter(ids("filtered_qa") + ids("rejected_qa"))
    return [
        f"pair {qa_id}: {drafts[qa_id]} drafts, {sorted_out[qa_id]} times kept or rejected"
        for qa_id in sorted(drafts.keys() | sorted_out.keys())
        if not drafts[qa_id] == sorted_out[qa_id] == 1
    ]


def every_pair_names_an_existing_chunk(home: Home, partition: str | None) -> list[str]:
    """The golden chunk of each kept pair is in the corpus."""
    chunk_ids = set(
        home.tables.read("chunked_corpus", partition=partition, columns=["chunk_id"])["chunk_id"].to_pylist()
    )
    pairs = home.tables.read("filtered_qa", partition=partition, columns=["qa_id", "chunk_id"]).to_pylist()
    return [
        f"pair {pair['qa_id']} names chunk {pair['chunk_id']}" for pair in pairs if pair["chunk_id"] not in chunk_ids
    ]


def the_right_option_is_the_answer(home: Home, partition: str | None) -> list[str]:
    """Options are distinct, and the one marked right is the pair's answer."""
    pairs = home.tables.read(
        "filtered_qa", partition=partition, columns=["qa_id", "answer", "options", "right_option"]
    ).to_pylist()
    return [
        f"pair {pair['qa_id']}: answer {pair['answer']!r}, options {pair['options']}, right {pair['right_option']}"
        for pair in pairs
        if len(set(pair["options"])) < len(pair["options"])
        or not 0 <= pair["right_option"] < len(pair["options"])
        or pair["options"][pair["right_option"]] != pair["answer"]
    ]


NYXQA_CHECKS = [
    blocking_check("filtered_qa", partitioned=True, find_faults=every_draft_is_kept_or_rejected),
    blocking_check("filtered_qa", partitioned=True, find_faults=every_pair_names_an_existing_chunk),
    blocking_check("filtered_qa", partitioned=True, find_faults=the_right_option_is_the_answer),
]
