"""MMQA (MultiModalQA): questions over passages, tables and pictures of Wikipedia, all in one pool."""

from pathlib import Path
from typing import Any

from nyx_assets.evaluation.published.seam import Pool, TakePicture, field, json_lines, one_of, passage, suite_from
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

PICTURES = "final_dataset_images"


class MMQA:
    """The four published files and the folder of pictures."""

    name = "mmqa"
    files = f"MMQA_dev.jsonl, MMQA_texts.jsonl, MMQA_tables.jsonl, MMQA_images.jsonl and {PICTURES}/"

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        pool, id_by_doc, problem_by_doc = Pool(), {}, {}
        for file, document_of in (("MMQA_texts.jsonl", _text), ("MMQA_tables.jsonl", _table)):
            path = one_of(folder, [file])
            for number, row in json_lines(path):
                where = f"{path}, line {number}"
                id_by_doc[field(row, "id", str, where)] = pool.add(document_of(row, where))
        path = one_of(folder, ["MMQA_images.jsonl"])
        for number, row in json_lines(path):
            where = f"{path}, line {number}"
            doc_id = field(row, "id", str, where)
            try:
                digest = take_picture(folder / PICTURES / field(row, "path", str, where))
            except DataError as error:  # some published pictures are broken or too large
                problem_by_doc[doc_id] = str(error)
                continue
            id_by_doc[doc_id] = pool.add(Document.of(field(row, "title", str, where), Segment(image=digest)))
        questions = one_of(folder, ["MMQA_dev.jsonl"])
        queries, left_out = [], []
        for number, row in json_lines(questions):
            where = f"{questions}, line {number}"
            golds = [field(one, "doc_id", str, where) for one in field(row, "supporting_context", list, where)]
            query_id = field(row, "qid", str, where)
            if missing := [gold for gold in golds if gold not in id_by_doc]:
                why = problem_by_doc.get(missing[0], "it is in none of the corpus files")
                left_out.append((query_id, f"its gold {missing[0]} cannot be searched: {why}"))
            elif not golds:
                left_out.append((query_id, "it names no gold"))
            else:
                ids = [id_by_doc[gold] for gold in golds]
                # Source: the published code of Nyx takes the best over the answers of a list
                answers = tuple(str(one["answer"]) for one in field(row, "answers", list, where))
                question = Document.of(field(row, "question", str, where))
                queries.append(SuiteQuery(query_id, question, dict.fromkeys(ids, 1), answers=answers))
        return suite_from(self.name, pool, queries, left_out)


def _text(row: Any, where: str) -> Document:
    return passage(field(row, "title", str, where), field(row, "text", str, where))


def _table(row: Any, where: str) -> Document:
    """A table as lines of cells."""
    table = field(row, "table", dict, where)
    header = [column["column_name"] for column in table.get("header", [])]
    rows = [[cell["text"] for cell in cells] for cells in field(table, "table_rows", list, where)]
    lines = [" | ".join(cells) for cells in [header, *rows] if cells]
    title = ", ".join(name for name in (row.get("title"), table.get("table_name")) if name)
    return passage(title, "\n".join(lines))
