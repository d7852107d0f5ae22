"""The grade of one answer in feedback, by the recipe."""

from collections.abc import Mapping
from typing import Any

from nyx_assets.rag.grading import exact_match, option_accuracy, token_f1
from nyx_assets.recipes import FeedbackRecipe


def grade_of(answer: str, pair: Mapping[str, Any], recipe: FeedbackRecipe) -> float:
    """0 to 1: how well an answer meets the pair's golden answer or right option.

    The letter of an option counts only where the generator was shown the options: else it names nothing.
    Source: token F1 and exact match by Rajpurkar et al. 2016, arXiv:1606.05250; the right option's normalised text, the
    published code of Nyx.
    """
    if recipe.grade == "token_f1":
        return token_f1(answer, [pair["answer"]])
    if recipe.grade == "exact_match" or not pair["options"]:
        return exact_match(answer, [pair["answer"]])
    if recipe.shows_options:
        return option_accuracy(answer, pair["options"], pair["right_option"])
    return exact_match(answer, [pair["options"][pair["right_option"]]])
