"""The stand-in keeps the teacher's, the generator's and the judge's contract, through the project's own prompts."""

import json

import pytest

from nyx_assets.miners import Bm25Miner
from nyx_assets.nyxqa.filters import filter_pairs
from nyx_assets.nyxqa.generation import pairs_of, requests_for
from nyx_assets.nyxqa.judging import judge_request
from nyx_assets.nyxqa.pairs import Means, Pair, Search
from nyx_assets.nyxqa.sampling import calls_for, sample_chunks
from nyx_assets.qa_recipes import QACheck, tiny_qa
from nyx_assets.rag.answering import answer_of, answer_request
from resources.vlm import Message, Request, Sampling
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

RECIPE = tiny_qa()
TEXT_ONLY, SINGLE_IMAGE, MULTI_IMAGE = RECIPE.writing.variants
VLM = OfflineVLM()
PICTURE = Segment(image="ab" * 32)
BRIDGE = Document.of(
    "The stone bridge across the river was finished by Marta Olsen in 1907 for the old town.",
    PICTURE,
    "The iron gate of the northern harbour, painted by Henrik Dahl in 1911. Trains began to run to Bergen that year.",
    "The mayor Ole Bull opened the market hall beside the canal and invited Edvard Moe to play.",
)
KITCHEN = Document.of("Fry the onions for 12 minutes in olive oil, then add 400 grams of tomatoes and a little salt.")


def chunk(document: Document, chunk_id="c1") -> dict:
    return {"chunk_id": chunk_id, "doc_id": f"d-{chunk_id}", "segments": document.to_rows()}


def drafts(document: Document, variant=SINGLE_IMAGE) -> list[dict]:
    (request,) = requests_for([(chunk(document), variant)], recipe=RECIPE.writing, seed=1)
    return pairs_of(chunk(document), variant, VLM.answer(request), teacher=VLM)


def means_for(*chunks: dict) -> Means:
    roles = {"teacher": VLM, "generator": VLM, "judge": VLM}
    chunk_by_id = {one["chunk_id"]: one for one in chunks}
    documents = {chunk_id: Document.from_rows(one["segments"]) for chunk_id, one in chunk_by_id.items()}
    return Means(
        vlm_by_role=roles, chunk_by_id=chunk_by_id, url_by_doc={}, blocked_domains=(), seed=1,
        open_search=lambda: Search(Bm25Miner(documents), "bm25"),
    )  # fmt: skip


def through(check: QACheck, *rows: dict, document: Document):
    """Kept and rejected rows of one check about drafts on a document."""
    one = chunk(document)
    sorted_out = filter_pairs(rows, means=means_for(one), split_by_doc={one["doc_id"]: "train"}, checks=[check])
    return sorted_out.kept, sorted_out.rejected


def ask(question: Document, *documents: Document, options=()) -> str:
    request = answer_request(question, documents, options=options, max_output_tokens=32, temperature=0.0, seed=1)
    return answer_of(VLM.answer(request))


def test_every_pair_is_a_gap_and_its_answer_stands_in_the_document():
    rows = drafts(BRIDGE)
    assert len(rows) == 4  # one a sentence
    for row in rows:
        assert row["problem"] is None
        assert "____" in Document.from_rows(row["question"]).text
        assert row["answer"] in BRIDGE.text
        assert row["question_type"] == ("number" if row["answer"].isdigit() else "fact")


def test_its_wrong_options_are_three_others_of_the_same_document():
    kept, rejected = through(QACheck(name="bad_options", threshold=4), *drafts(BRIDGE), document=BRIDGE)
    assert rejected == []
    for row in kept:
        assert len(set(row["options"])) == 4
        assert all(option in BRIDGE.text or option.isdigit() for option in row["options"])
        assert not any(option in Document.from_rows(row["question"]).text for option in row["options"])


def test_a_long_answer_is_cut_to_words_that_stand_in_the_document():
    row = drafts(BRIDGE, TEXT_ONLY)[0]
    check = QACheck(name="answer_too_long", threshold=3)
    long = row | {"answer": "the iron gate of the northern harbour"}
    (kept,), _ = through(check, long, document=BRIDGE)
    assert (kept["answer"], kept["original_answer"]) == ("iron gate of", long["answer"])
    _, (rejected,) = through(check, row | {"answer": "because it was so very old"}, document=BRIDGE)
    assert rejected["rule"] == "answer_too_long"


def test_a_picture_gets_a_question_that_holds_it_made_from_its_caption():
    with_picture = [row for row in drafts(BRIDGE) if Document.from_rows(row["question"]).images]
    assert len(with_picture) == 1
    question = Document.from_rows(with_picture[0]["question"])
    assert question.images == (PICTURE.image,)
    assert "iron gate" in question.text
    assert "description of" in question.text


def test_a_text_is_asked_about_without_pictures_and_several_pictures_with_two_at_least():
    assert not any(Document.from_rows(row["question"]).images for row in drafts(BRIDGE, TEXT_ONLY))
    (row,) = drafts(BRIDGE, MULTI_IMAGE)
    assert row["problem"].startswith("no_pair: ")  # one picture is not several
    other = Segment(image="cd" * 32)
    rows = drafts(Document((*BRIDGE.segments, other)), MULTI_IMAGE)
    assert rows
    for row in rows:
        assert row["problem"] is None
        assert set(Document.from_rows(row["question"]).images) == {PICTURE.image, other.image}


def test_the_same_document_gets_the_same_pairs():
    assert drafts(BRIDGE) == drafts(Document(BRIDGE.segments))


def test_chinese_and_spanish_documents_get_questions_in_their_language():
    chinese = Document.of("将猪蹄洗净后放入锅中，加入 20 克冰糖和 30 毫升料酒，小火慢炖 45 分钟即可出锅。")
    spanish = Document.of(
        "El puente de la ciudad fue construido por la ingeniera Marta Olsen en 1907 para los vecinos del puerto."
    )
    assert "空缺处是什么" in drafts(chinese)[0]["question"][0]["text"]
    assert drafts(spanish)[0]["question"][0]["text"].startswith("¿Qué falta")


@pytest.mark.parametrize("document", [Document(()), Document((PICTURE,)), Document.of("Hello"), Document.of("### 12")])
def test_a_document_with_nothing_to_ask_is_one_row_that_says_so(document):
    (row,) = drafts(document)
    assert row["problem"].startswith("no_pair: ")


def test_the_generator_answers_from_the_golden_document_and_not_from_another():
    for row in drafts(BRIDGE):
        question = Document.from_rows(row["question"])
        assert ask(question, BRIDGE) == row["answer"]
        assert ask(question, KITCHEN, BRIDGE) == row["answer"]
        assert ask(question, KITCHEN) == "unknown"
        assert ask(question) == "unknown"


def test_with_options_it_picks_the_right_one_only_if_a_document_supports_it():
    for row in drafts(BRIDGE):
        question, options = Document.from_rows(row["question"]), ["Odin", "73", row["answer"], "Thor"]
        assert ask(question, KITCHEN, BRIDGE, options=options) == row["answer"]
        assert ask(question, KITCHEN, options=options) == "unknown"


def test_an_edited_sentence_still_answers():
    question = Document.of(
        "What belongs in the gap: “The stone bridge across the river was finished by ____ in 1907 for the town.”?"
    )
    edited = Document.of("In fact the old bridge across the river was finished by Marta Olsen in 1907.")
    assert ask(question, edited) == "Marta Olsen"


def test_a_question_without_a_gap_is_answered_from_the_nearest_sentence():
    question = Document.of("Which mayor opened the market hall beside the canal?")
    assert ask(question, KITCHEN, BRIDGE) == "Ole Bull"
    assert ask(question, BRIDGE, options=["Henrik Dahl", "Ole Bull"]) == "Ole Bull"
    assert ask(question, KITCHEN) == "unknown"


def test_a_few_words_in_common_are_no_support():
    question = Document.of(
        "What belongs in the gap: “The stone bridge across the river was finished by ____ in 1907 for us.”?"
    )
    assert ask(question, Document.of("The cake was finished by Anna in winter.")) == "unknown"


def test_words_spread_over_many_sentences_are_no_answer():
    question = Document.of("Which mayor opened the market hall beside the canal?")
    scattered = Document.of(
        "The mayor met Jon Dahl. A market was shut. The hall burned. They opened beans beside Nils. No canal froze."
    )
    assert ask(question, scattered) == "unknown"


def test_of_two_documents_that_support_alike_the_first_is_believed():
    question = Document.of("Which mayor opened the market hall beside the canal?")
    twins = [
        Document.of(f"The mayor {name} opened the market hall beside the canal.") for name in ("Ole Bull", "Jon Dahl")
    ]
    assert ask(question, *twins) == "Ole Bull"
    assert ask(question, *reversed(twins)) == "Jon Dahl"


def score(answer: str, document: Document) -> int:
    row = {"chunk_id": "c1", "question": Document.of("Who finished the bridge?").to_rows(), "answer": answer}
    request = judge_request(Pair.of(row, chunk(document)), means_for())
    return json.loads(VLM.answer(request).text)["score"]


def test_the_judge_scores_a_pair_by_whether_its_answer_stands_in_the_document():
    assert score("marta olsen", BRIDGE) == 10
    assert score("Marta Moe", BRIDGE) == 1  # both words stand there, not together
    assert score("190", BRIDGE) == 1
    assert score("Marta Olsen", KITCHEN) == 1


def test_everything_it_says_is_free_and_marked_as_a_stand_ins():
    (request,) = requests_for([(chunk(BRIDGE), TEXT_ONLY)], recipe=RECIPE.writing, seed=1)
    reply = VLM.answer(request)
    assert (reply.is_stand_in, reply.cost_usd, reply.model) == (True, 0.0, "offline-extractive")
    assert all(row["is_stand_in"] for row in drafts(BRIDGE))


def test_an_unknown_task_is_refused_with_the_tasks_it_knows():
    sampling = Sampling(temperature=0.0, max_output_tokens=8, seed=0)
    strange = Request(messages=(Message("system", Document.of("Be nice")),), sampling=sampling, prompt_version="p")
    with pytest.raises(VLMError, match="Task: answer from documents"):
        VLM.answer(strange)


def test_three_hundred_questions_are_answered_each_from_the_document_that_is_shown():
    filler = " ".join(
        f"In year {1500 + i} the council of ward {i} repaired the wall near gate {i * 3}." for i in range(12)
    )
    documents = [Document.of(f"{filler} Tower {i} was raised by mason number {7 * i}.") for i in range(300)]
    requests = [
        answer_request(
            Document.of(f"What belongs in the gap: “Tower {i} was raised by mason number ____.”?"), [document],
            max_output_tokens=8, temperature=0.0, seed=0,
        )
        for i, document in enumerate(documents)
    ]  # fmt: skip
    assert [VLM.answer(request).text for request in requests] == [str(7 * i) for i in range(300)]


def test_on_the_real_pages_pairs_survive_and_answers_depend_on_the_document_shown(shared_data):
    import gzip

    chunks = []
    with gzip.open(shared_data / "retrieval" / "chunks.jsonl.gz", "rt") as lines:
        for line in list(lines)[::60]:
            row = json.loads(line)
            document = Document(
                tuple(
                    Segment(text=s.get("text"), image=s["path"] if s["type"] == "image" else None)
                    for s in row["segments"]
                )
            )
            chunks.append(chunk(document, row["chunk_id"]) | {"num_images": len(document.images)})
    sampled = sample_chunks(chunks, recipe=RECIPE.sampling, variants=RECIPE.writing.variants, seed=1)
    variants_by_chunk = {row["chunk_id"]: row["variants"] for row in sampled}
    calls = list(calls_for(chunks, variants_by_chunk=variants_by_chunk, variants=RECIPE.writing.variants))
    replies = map(VLM.answer, requests_for(calls, recipe=RECIPE.writing, seed=1))
    raw = [row for (one, variant), reply in zip(calls, replies) for row in pairs_of(one, variant, reply, teacher=VLM)]
    chunk_by_id = {one["chunk_id"]: one for one in chunks}
    sorted_out = filter_pairs(
        raw, means=means_for(*chunks), split_by_doc={one["doc_id"]: "train" for one in chunks}, checks=RECIPE.checks
    )
    kept = sorted_out.kept
    assert len(kept) + len(sorted_out.rejected) == len(raw)
    assert len(kept) > 1.5 * len(chunks)
    ids = list(chunk_by_id)
    right = wrong = 0
    for row in kept:
        question = Document.from_rows(row["question"])
        golden, other = row["chunk_id"], ids[(ids.index(row["chunk_id"]) + 40) % len(ids)]
        right += ask(question, Document.from_rows(chunk_by_id[golden]["segments"])) == row["answer"]
        wrong += ask(question, Document.from_rows(chunk_by_id[other]["segments"])) == row["answer"]
    assert right > 0.9 * len(kept)
    assert wrong < 0.02 * len(kept)
