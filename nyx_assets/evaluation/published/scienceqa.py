"""ScienceQA: school questions, many with a picture; what is searched for is the lecture that teaches the answer.

The published corpus holds the lectures of the test questions as well, since those are what is to be found.
"""

from pathlib import Path

from nyx_assets.evaluation.published.seam import Pool, TakePicture, field, json_file, suite_from
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

SPLIT = "test"


class ScienceQA:
    """problems.json of the published repository, and the pictures as they are given out: <split>/<id>/image.png."""

    name = "scienceqa"
    files = "problems.json and test/<id>/image.png"

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        path, problems = json_file(folder, ["problems.json"])
        pool, queries, left_out = Pool(), [], []
        for query_id, problem in problems.items():
            where = f"{path}, problem {query_id}"
            lecture = field(problem, "lecture", str, where).strip()
            lecture_id = pool.add(Document.of(lecture)) if lecture else ""
            if field(problem, "split", str, where) != SPLIT:
                continue
            if not lecture:
                left_out.append((query_id, "it names no lecture"))
                continue
            segments = []
            if problem.get("image"):
                picture = folder / SPLIT / query_id / problem["image"]
                try:
                    segments.append(Segment(image=take_picture(picture)))
                except DataError as error:
                    # without its picture the question would be another one
                    raise DataError(f"{where}: {error}") from error
            question = Document.of(*segments, field(problem, "question", str, where))
            choices, right = field(problem, "choices", list, where), field(problem, "answer", int, where)
            if not 0 <= right < len(choices):
                raise DataError(f"{where}: answer is the place of the right one of {len(choices)} choices, got {right}")
            queries.append(
                SuiteQuery(
                    query_id,
                    question,
                    {lecture_id: 1},
                    answers=(choices[right],),
                    options=tuple(choices),
                    right_option=right,
                )
            )
        return suite_from(self.name, pool, queries, left_out)
