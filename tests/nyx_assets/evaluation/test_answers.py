"""What the generator is shown for each question, and its answers as rows."""

from dataclasses import replace

from nyx_assets.evaluation.answers import Context, answered_with, contexts_of
from nyx_assets.evaluation.rag_evaluation import grades_of, rag_scores
from nyx_assets.evaluation.retrievers import Bm25Retriever, DenseRetriever
from nyx_assets.recipes import tiny
from resources.vlm import Reply, Request
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

CHUNKS = {
    "bridge": Document.of("The bridge of Harlow was built by Anselm Thackeray in 1871. It carries two tracks."),
    "clock": Document.of("The tower clock of Morren was built by Ruben Dunmore in 1904. It has not moved since."),
    "ferry": Document.of("The ferry of Ostibeck sails at noon."),
}


def pair(qa_id: str, chunk_id: str, question: str, answer: str, options: list[str]) -> dict:
    return {
        "qa_id": qa_id,
        "chunk_id": chunk_id,
        "question": Document.of(question).to_rows(),
        "answer": answer,
        "options": options,
        "right_option": options.index(answer),
    }


PAIRS = [
    pair(
        "q1",
        "clock",
        'Which words are left out here: "The tower clock of Morren was built by ____ in 1904."?',
        "Ruben Dunmore",
        ["Anselm Thackeray", "Ruben Dunmore", "Dora Iversen", "Felix Elv"],
    ),
    pair(
        "q2",
        "bridge",
        'Which words are left out here: "The bridge of Harlow was built by ____ in 1871."?',
        "Anselm Thackeray",
        ["Felix Elv", "Dora Iversen", "Ruben Dunmore", "Anselm Thackeray"],
    ),
]


def test_bounds_come_first_and_each_retriever_shows_its_best_chunks():
    contexts = contexts_of(PAIRS, CHUNKS, [Bm25Retriever()], window=2)
    assert [(context.pair["qa_id"], context.retriever, context.window) for context in contexts] == [
        ("q1", "none", ()),
        ("q2", "none", ()),
        ("q1", "golden", ("clock",)),
        ("q2", "golden", ("bridge",)),
        ("q1", "bm25", ("clock", "bridge")),
        ("q2", "bm25", ("bridge", "clock")),
    ]


def test_a_retriever_of_several_dims_shows_what_it_finds_at_full_width(clock_embedders):
    embedder = clock_embedders(any=0).by_name["any"]
    numbered = {f"c{number}": Document.of(f"chunk {number}") for number in (0, 17, 1)}
    # at full width the hours 0 and 1 are near each other, of their first numbers alone 17 is as good as any
    embedder.dims = (2, 1)
    asked = [{"qa_id": "q", "chunk_id": "c1", "question": Document.of("query 1").to_rows()}]
    contexts = contexts_of(asked, numbered, [DenseRetriever("dense", embedder)], window=2)
    assert contexts[-1].window == ("c1", "c0")


def test_without_questions_no_retriever_is_asked(clock_embedders):
    embedder = clock_embedders(any=0).by_name["any"]
    assert contexts_of([], CHUNKS, [DenseRetriever("dense", embedder)], window=1) == []
    assert embedder.asked == []


def test_the_stand_in_answers_from_what_it_is_shown_and_every_row_says_so():
    contexts = contexts_of(PAIRS, CHUNKS, [Bm25Retriever()], window=1)
    rows = list(answered_with(OfflineVLM(), contexts, CHUNKS, tiny()))
    answer = {(row["qa_id"], row["retriever"]): row["answer"] for row in rows}
    assert len(answer) == 6
    assert answer["q1", "golden"] == answer["q1", "bm25"] == "Ruben Dunmore"
    assert answer["q2", "golden"] == answer["q2", "bm25"] == "Anselm Thackeray"
    assert answer["q1", "none"] != "Ruben Dunmore"
    assert {(row["generator"], row["is_stand_in"]) for row in rows} == {(OfflineVLM().model, True)}
    scores = {
        row["retriever"]: row["value"]
        for row in rag_scores(grades_of(rows, {pair["qa_id"]: pair for pair in PAIRS}), split="test", seed=1)
        if row["metric"] == "exact_match"
    }
    assert scores["golden"] == scores["bm25"] == 1 > scores["none"]


class Watching(OfflineVLM):
    """The stand-in, with an eye on what it is asked, and without an answer where Ostibeck comes up."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        if "Ostibeck" in request.messages[-1].content.text:
            raise VLMError("500 after 3 retries")
        return await super().complete(request)


def test_a_refused_call_is_a_row_without_an_answer_and_loses_no_other():
    contexts = [
        Context(pair=PAIRS[0], retriever="one", window=("clock",)),
        Context(pair=PAIRS[0], retriever="two", window=("ferry",)),
        Context(pair=PAIRS[1], retriever="three", window=("bridge", "clock")),
    ]
    rows = list(answered_with(Watching(), contexts, CHUNKS, tiny()))
    assert [(row["retriever"], row["answer"]) for row in rows] == [
        ("one", "Ruben Dunmore"),
        ("two", None),
        ("three", "Anselm Thackeray"),
    ]


def test_options_and_the_recipes_sampling_reach_the_generator():
    recipe = replace(tiny(), seed=7, feedback=replace(tiny().feedback, max_output_tokens=11, temperature=0.5))
    vlm = Watching()
    list(answered_with(vlm, [Context(pair=PAIRS[0], retriever="one", window=("clock",))], CHUNKS, recipe))
    [request] = vlm.asked
    sampling = request.sampling
    assert (sampling.seed, sampling.max_output_tokens, sampling.temperature) == (7, 11, 0.5)
    text = request.messages[-1].content.text
    assert all(option in text for option in PAIRS[0]["options"])


def test_bounds_are_asked_like_every_other_answer_with_the_pictures_of_question_and_golden_chunk():
    chunks = {"clock": Document.of("Look:", Segment(image="of the chunk"))}
    question = Document.of("What is it?", Segment(image="of the question")).to_rows()
    asked_pair = {**PAIRS[0], "question": question}
    vlm = Watching()
    contexts = contexts_of([asked_pair], chunks, [Bm25Retriever()], window=1)
    found = Context(pair=asked_pair, retriever="dense", window=("clock",))
    list(answered_with(vlm, [*contexts[:2], found], chunks, tiny()))
    none, golden, dense = vlm.asked
    assert none.messages[-1].content.images == ("of the question",)
    assert golden.messages[-1].content.images == ("of the chunk", "of the question")
    assert golden == dense
    assert none.sampling == golden.sampling
    assert none.messages[0] == golden.messages[0]
