"""Bamboogle: 125 questions and answers without gold documents; a passage that holds the answer counts as gold.

Source of the measure: Karpukhin et al. 2020, arXiv:2004.04906, section 5, top-k accuracy by answer string.
"""

import csv
from pathlib import Path

from nyx_assets.evaluation.published.seam import Pool, TakePicture, field, json_lines, one_of, passage, suite_from
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.rag.grading import answer_tokens
from nyx_assets.rag.telling import is_telling
from training_kernels.documents import Document
from training_kernels.errors import DataError


class Bamboogle:
    """The published table with columns Question and Answer, and passages to search, which it does not bring."""

    name = "bamboogle"
    files = "bamboogle.csv (Question, Answer) and passages.jsonl ({title, text} a line) of your own corpus"

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        path, corpus = one_of(folder, ["bamboogle.csv"]), one_of(folder, ["passages.jsonl"])
        pool, words_by_id = Pool(), {}
        for number, row in json_lines(corpus):
            text = field(row, "text", str, f"{corpus}, line {number}")
            words_by_id[pool.add(passage(row.get("title", ""), text))] = f" {' '.join(answer_tokens(text))} "
        queries, left_out = [], []
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), start=1):
                if not row.get("Question") or not row.get("Answer"):
                    raise DataError(f"{path}, row {number}: needs a Question and an Answer, got {row}")
                query_id, terms = f"bamboogle-{number:03d}", answer_tokens(row["Answer"])
                golds = [one for one, words in words_by_id.items() if f" {' '.join(terms)} " in words]
                if not is_telling(terms):
                    left_out.append((query_id, f"its answer {row['Answer']!r} is too short to be looked for"))
                elif not golds:
                    left_out.append((query_id, "no passage of the corpus holds its answer"))
                else:
                    question = Document.of(row["Question"])
                    queries.append(SuiteQuery(query_id, question, dict.fromkeys(golds, 1), answers=(row["Answer"],)))
        return suite_from(self.name, pool, queries, left_out)
