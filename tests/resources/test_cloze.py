"""Gaps are what a person would leave out, and are found again where the words around them stand."""

from resources import cloze


def answers(sentence: str) -> list[tuple[str, str]]:
    return [(gap.answer, gap.shape) for gap in cloze.gaps_of(sentence)]


def test_names_come_before_numbers_and_numbers_before_long_words():
    sentence = "The old bridge was finished by Marta Olsen in 1,907 after protracted quarrels."
    assert answers(sentence) == [
        ("Marta Olsen", "name"), ("1,907", "number"), ("protracted", "word"), ("finished", "word"), ("quarrels", "word"), ("bridge", "word"),
    ]  # fmt: skip


def test_the_first_word_of_a_sentence_is_no_name():
    assert ("Bridges", "name") not in answers("Bridges over the river carry trains")


def test_a_word_that_comes_twice_is_no_gap():
    assert "Olsen" not in [answer for answer, _ in answers("when Olsen met the other Olsen at the harbour")]


def test_a_gap_is_never_part_of_a_token():
    found = [
        answer
        for answer, _ in answers("near Jupiter-C the pressure in env_packages rose above 1.5-bar in China’s port")
    ]
    assert not {"Jupiter", "packages", "5"} & set(found)
    assert "China" in found
    assert "Artagnan" not in [answer for answer, _ in answers("the brave young d'Artagnan rode on to Paris")]


def test_chinese_gaps_are_numbers_and_short_runs_between_glue():
    found = answers("放入 20 克冰糖，用小火慢慢熬成糖色的酱汁")
    assert found[0] == ("20", "number")
    assert all(2 <= len(answer) <= 4 for answer, shape in found if shape == "cjk")
    assert any(shape == "cjk" for _, shape in found)


def test_a_cut_keeps_twelve_tokens_before_and_eight_after():
    words = [f"w{chr(97 + i)}" for i in range(25)]
    words[15] = "extraordinary"
    sentence = " ".join(words)
    (gap,) = cloze.gaps_of(sentence)
    assert cloze.cut_gap(sentence, gap) == "… " + " ".join([*words[3:15], "____", *words[16:24]]) + " …"


def test_a_short_sentence_has_no_question():
    sentence = "We saw Marta Olsen there"
    assert all(cloze.cut_gap(sentence, gap) is None for gap in cloze.gaps_of(sentence))


def test_distractors_have_the_gaps_shape_and_are_not_in_the_question():
    text = ["met Marta Olsen near Bergen", "then Ole Bull and Henrik Ibsen left", "for Oslo in 1907 or 1911"]
    pool = [gap for sentence in text for gap in cloze.gaps_of(sentence)]
    gap = cloze.gaps_of("met Marta Olsen near Bergen")[0]
    found = cloze.distractors_for(gap, pool=pool, question="____ went to Oslo", number=3)
    assert set(found) == {"Ole Bull", "Henrik Ibsen", "Bergen"}


def test_numbers_are_made_where_the_text_has_too_few():
    gap = cloze.Gap("1907", 0, 4, "number")
    found = cloze.distractors_for(gap, pool=[cloze.Gap("1911", 0, 4, "number")], question="built in ____ ?", number=3)
    assert found[0] == "1911"
    assert len({*found, "1907"}) == 4
    assert all(number.isdigit() for number in found)


def test_a_made_decimal_keeps_its_writing():
    found = cloze.distractors_for(cloze.Gap("3.05", 0, 4, "number"), pool=[], question="", number=3)
    assert all(number.startswith("3.") and len(number) == 4 for number in found)


def around(left: str, right: str):
    return cloze.tokens_of(left).folded, cloze.tokens_of(right).folded


def test_a_gap_is_filled_from_the_text_in_its_own_writing():
    text = "Long ago. The bridge was finished by Marta Olsen in 1907. The tower was finished by Ole Bull in 1911."
    assert cloze.fill_gap(*around("tower was finished by", "in"), text) == ("Ole Bull", 1.0)
    assert cloze.fill_gap(*around("bridge was finished by Marta Olsen in", "The tower"), text) == ("1907", 1.0)


def test_support_is_the_share_of_tokens_in_place():
    answer, support = cloze.fill_gap(
        *around("the new bridge was finished by", "in"), "The old bridge was finished by Olsen in"
    )
    assert (answer, support) == ("Olsen", 6 / 7)


def test_a_gap_at_either_end_is_filled():
    assert cloze.fill_gap(*around("", "was built"), "A tower was built")[0] == "tower"
    assert cloze.fill_gap(*around("built in", ""), "It was built in 1907")[0] == "1907"


def test_other_texts_fill_nothing():
    assert cloze.fill_gap(*around("tower was finished by", "in"), "Fry the onions gently.") == ("", 0.0)
