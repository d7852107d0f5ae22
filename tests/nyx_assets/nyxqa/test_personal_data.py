"""Personal data is found by pattern and checksum; numbers and names of other things pass."""

import pytest

from nyx_assets.nyxqa.personal_data import personal_data_in
from nyx_assets.qa_recipes import QACheck, nyx_qa, paper_qa

PERSONAL = {
    "Write to marta.olsen@fjordmail.no for it": "an e-mail address",
    "Which account is DE89 3704 0044 0532 0130 00?": "an IBAN",
    "GB82WEST12345698765432 is his": "an IBAN",
    "card 4111 1111 1111 1111 of the keeper": "a payment card's number",
    "card 378282246310005": "a payment card's number",
    "3782-822463-10005": "a payment card's number",
    "公民身份号码11010519491231002X是谁的": "a Chinese identity number",
    "el DNI 12345678Z": "a Spanish identity number",
    "NIE X1234567L": "a Spanish identity number",
    "numéro 2 55 08 14 168 025 38": "a French identity number",
    "SSN 219-09-9999 was printed in a wallet": "a US social security number",
    "insurance number QQ 12 34 56 C": None,  # the prefix is never given out
    "insurance number AB 12 34 56 C": "a UK national insurance number",
    "ring +47 22 86 32 00 at night": "a telephone number",
    "call (415) 867-5309 now": "a telephone number",
    "415-867-5309": "a telephone number",
    "Tel: 030 901820 15": "a telephone number",
}
HARMLESS = (
    "In which year, 1907 or 1911, did 12,345,678 people live there?",
    "ISBN 978-3-16-148410-0 and ISBN 3161484100",
    "page 102-09-88, vol. 12-34-5678",
    "version 10.1.2.3456789, commit 40e06d3f, doi 10.1371/journal.pone.0123456",
    "from 1939-1945 and 2001-09-11 12:30:45.123456",
    "the satellite picture LC82270732015002LGN00",
    "4111 1111 1111 1112 has a wrong check digit",
    "DE88 3704 0044 0532 0130 00 too",
    "11010519491331002X has no such month",
    "12345678A has the wrong letter",
    "info@town.gov and webmaster@museum.org are offices",
    "someone@example.com, me@localhost.test",
    "(415) 555-0123 is a number for films",
    "NGC 4565 lies 3,000,000 light years away; pi is 3.14159265358979323846",
    "@user on the network, a@b",
    "coordinates 59.9139, 10.7522 and 40.446° N",
    "the atom weighs 1.660 539 066 60e-27 kg",
    "0000000000000000",
)


@pytest.mark.parametrize("text", PERSONAL)
def test_personal_data_is_found_as_its_kind(text: str) -> None:
    kinds = [kind for kind, _ in personal_data_in(text)]
    assert kinds == ([] if PERSONAL[text] is None else [PERSONAL[text]])


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_addresses_of_other_things_pass(text: str) -> None:
    assert personal_data_in(text) == []


def test_each_mention_counts_and_full_width_digits_are_digits() -> None:
    assert len(personal_data_in("a.b@fjordmail.no or c.d@fjordmail.no, call ４１５-８６７-５３０９")) == 3


def test_a_pair_with_personal_data_in_question_or_answer_is_refused_and_the_reason_does_not_repeat_it(town) -> None:
    rows = [
        town.draft("Whose address is marta@fjordmail.no then?", qa_id="question"),
        town.draft("How can the builder be reached?", "at 415-867-5309", qa_id="answer"),
        town.draft(qa_id="neither"),
    ]
    check = QACheck(name="personal_data", threshold=0)
    sorted_out = town.sort(rows, check)
    assert [row["qa_id"] for row in sorted_out.kept] == ["neither"]
    assert [(row["rule"], row["reason"]) for row in sorted_out.rejected] == [
        ("personal_data", "question and answer hold an e-mail address; at most 0 allowed"),
        ("personal_data", "question and answer hold a telephone number; at most 0 allowed"),
    ]
    step = sorted_out.steps[-1]
    assert (step.num_in, step.num_rejected, step.examples) == (3, 2, ["question", "answer"])
    marking = QACheck(name="personal_data", threshold=0, on_failure="mark")
    assert [row["marks"] for row in town.sort(rows, marking).kept] == [["personal_data"], ["personal_data"], []]


def test_real_pages_hold_three_mailboxes_of_offices_and_nothing_else_that_is_taken_for_personal(shared_data) -> None:
    import pyarrow.parquet as pq

    texts = [
        text
        for file in sorted((shared_data / "interleaved").glob("*.parquet"))
        for row in pq.read_table(file, columns=["texts"]).to_pylist()
        for text in row["texts"]
        if text
    ]
    assert sum(map(len, texts)) > 2_500_000
    found = {value for text in texts for _, value in personal_data_in(text)}
    assert found == {"dap-18f@gsa.gov", "federalfrontdoor@gsa.gov", "micropurchase@gsa.gov"}


def test_ours_refuses_personal_data_and_the_papers_recipe_does_not() -> None:
    assert "personal_data" in {check.name for check in nyx_qa().checks}
    assert "personal_data" not in {check.name for check in paper_qa().checks}
