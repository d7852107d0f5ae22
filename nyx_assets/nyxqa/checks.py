"""What must hold of question-answer pairs before anything is trained on them."""

from collections import Counter
from itertools import pairwise

from nyx_assets.materialization import blocking_check
from nyx_assets.nyxqa.asking import FEWEST_TO_TELL
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


MAX_REFUSED_SHARE = 0.2
"""Share of refused calls above which a table is not trusted. Choice: one page in a small partition that a provider
declines must not hold up the rest for ever; one call in five is a server that is down."""


def most_calls_were_answered(home: Home, partition: str | None) -> list[str]:
    """Of the calls behind the drafts of a partition, few were refused: a wrong key or a dead server is not an empty corpus."""
    rows = home.tables.read("raw_qa", partition=partition, columns=["chunk_id", "variant", "problem"]).to_pylist()
    calls = {(row["chunk_id"], row["variant"]) for row in rows}
    refused = [row["problem"] for row in rows if (row["problem"] or "").startswith("refused_call: ")]
    if len(refused) <= MAX_REFUSED_SHARE * len(calls):
        return []
    return [f"{len(refused)} of {len(calls)} calls were refused, at most {MAX_REFUSED_SHARE:.0%} allowed; {refused[0]}"]


def most_checks_were_answered(home: Home, partition: str | None) -> list[str]:
    """Of the calls of each check, few were refused."""
    return [
        f"check {step['check']} by {step['asked']}: {step['num_refused_calls']} of {step['num_calls']} calls were refused, "
        f"at most {MAX_REFUSED_SHARE:.0%} allowed; rejected_qa has their texts under the rule refused_call"
        for step in home.tables.read("qa_funnel", partition=partition).to_pylist()
        if step["unit"] == "pair"
        and step["num_calls"] >= FEWEST_TO_TELL
        and step["num_refused_calls"] > MAX_REFUSED_SHARE * step["num_calls"]
    ]


def kept_and_rejected_add_up_at_every_step(home: Home, partition: str | None) -> list[str]:
    """What went into a step of the funnel came out or was rejected by a rule, and is what the step before let through."""
    steps = sorted(home.tables.read("qa_funnel", partition=partition).to_pylist(), key=lambda step: step["step"])
    rejected = Counter(
        (row["check"], row["rule"])
        for row in home.tables.read("rejected_qa", partition=partition, columns=["check", "rule"]).to_pylist()
    )
    num_raw = home.tables.num_rows("raw_qa", partition)
    num_kept = home.tables.num_rows("filtered_qa", partition)
    faults = []
    for step in steps:
        by_rule = {one["rule"]: one["number"] for one in step["rejected_by_rule"]}
        if step["num_in"] != step["num_out"] + sum(by_rule.values()):
            faults.append(f"step {step['check']}: {step['num_in']} in, {step['num_out']} out, rejected {by_rule}")
        if step["unit"] == "pair" and by_rule != {
            rule: number for (check, rule), number in rejected.items() if check == step["check"]
        }:
            faults.append(f"step {step['check']}: rejected {by_rule}, in rejected_qa {dict(rejected)}")
    for before, after in pairwise(steps):
        if before["unit"] == after["unit"] and before["num_out"] != after["num_in"]:
            faults.append(f"{before['num_out']} out of {before['check']}, {after['num_in']} into {after['check']}")
    of_pairs = [step for step in steps if step["unit"] == "pair"]
    if not of_pairs or (of_pairs[0]["num_in"], of_pairs[-1]["num_out"]) != (num_raw, num_kept):
        faults.append(f"{num_raw} drafts and {num_kept} kept pairs, the funnel has {of_pairs[:1]} and {of_pairs[-1:]}")
    return faults


NYXQA_CHECKS = [
    blocking_check("raw_qa", partitioned=True, find_faults=most_calls_were_answered),
    blocking_check("filtered_qa", partitioned=True, find_faults=most_checks_were_answered),
    blocking_check("filtered_qa", partitioned=True, find_faults=kept_and_rejected_add_up_at_every_step),
    blocking_check("filtered_qa", partitioned=True, find_faults=every_draft_is_kept_or_rejected),
    blocking_check("filtered_qa", partitioned=True, find_faults=every_pair_names_an_existing_chunk),
    blocking_check("filtered_qa", partitioned=True, find_faults=the_right_option_is_the_answer),
]
