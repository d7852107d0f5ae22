"""What a landing brings about by itself: documents, chunks, embeddings with the promoted checkpoint, and the live index.

Questions and training are not here: they cost money and hours, and sensors/retraining.py decides when they are due.
A table that is stale because the code or a recipe changed is not here either: Dagster shows it stale, and `nyx run` or a
backfill makes it again when somebody means it.
"""

from collections.abc import Mapping

import dagster as dg

from nyx_assets.materialization import key_of

Condition = dg.AutomationCondition

RETRY_CRON = "*/10 * * * *"
"""Choice: what failed because a disk was full is tried again soon, and a broken delivery does not keep a core busy."""
REFRESH_TAGS = {"nyx/refresh": "yes"}
PUBLISH_CRON = "*/5 * * * *"
"""Choice: where something lands all the time, the index does not wait for a quiet moment longer than this."""


def made_from(*inputs: str, before: tuple[str, ...] = (), is_first: bool = False) -> dg.AutomationCondition:
    """True for a partition that is missing, or one of whose inputs got other content; it waits for inputs to be whole.

    A partition that is missing together with its inputs is made in one run with them. One that was made before waits
    for each input to be through: only then is it known whether the content changed, and if not, nothing follows. What
    failed is tried again at RETRY_CRON; what failed in one run with an input that was made there is tried at once, as in
    a run of many another partition of the input may have been what failed, and then by itself, so that it is once.

    Args:
        before: what is made of it; while that is at work on the partition, it has to wait, or what it says while the
            other reads the old content would be taken as read.
        is_first: its inputs are never made in one run with it.
    """
    own = _assets(inputs)
    is_new = Condition.missing() & (~Condition.execution_failed() | _held_up(own))
    content_changed = Condition.any_deps_match(Condition.data_version_changed()).allow(own)
    handled = (
        _requested_and_unchanged_since(content_changed)
        if is_first
        else Condition.newly_requested() | Condition.newly_updated()
    )
    not_good = Condition.any_checks_match(Condition.check_failed(), blocking_only=True)
    try_again = (Condition.execution_failed() | not_good) & Condition.cron_tick_passed(RETRY_CRON)
    condition = (
        (is_new | content_changed.since(handled) | try_again)
        & ~Condition.any_deps_missing()
        & ~Condition.any_deps_in_progress()
        & ~Condition.any_deps_match(not_good & ~Condition.will_be_requested()).allow(own)
        & ~Condition.in_progress()
    )
    for name in before:
        condition = condition & ~Condition.asset_matches(key_of(name), Condition.in_progress())
    return condition.with_label("new, changed or failed")


def _held_up(own: dg.AssetSelection) -> dg.AutomationCondition:
    """True where an input was made since this was asked for, or is asked for now."""
    input_made = Condition.any_deps_match(Condition.newly_updated()).allow(own)
    # what was made by the next tick was made after the request
    made_since = input_made.since(Condition.newly_requested() & ~input_made)
    return (made_since | Condition.any_deps_match(Condition.will_be_requested()).allow(own)).with_label(
        "an input was made since it was asked for"
    )


def made_when_all_is_quiet(*inputs: str, needs: tuple[str, ...] = ()) -> dg.AutomationCondition:
    """True for a whole asset some of whose inputs got other content, once none of them is being made.

    A partition that is missing, or failed, is not waited for: what is there goes live without it.

    Args:
        needs: what it reads besides, and is not asked for without.
    """
    own = _assets(inputs)
    content_changed = Condition.any_deps_match(Condition.data_version_changed()).allow(own)
    is_at_work = Condition.any_deps_match(Condition.in_progress() | Condition.will_be_requested()).allow(own)
    try_again = Condition.execution_failed() & Condition.cron_tick_passed(RETRY_CRON)
    condition = (
        (content_changed.since(_requested_and_unchanged_since(content_changed)) | try_again)
        & (~is_at_work | Condition.cron_tick_passed(PUBLISH_CRON))
        & ~Condition.in_progress()
    )
    for name in needs:
        is_there = (~Condition.asset_matches(key_of(name), Condition.missing())).with_label(f"{name} is there")
        condition = condition & is_there
    return condition.with_label("an input changed and all are through")


def _requested_and_unchanged_since(content_changed: dg.AutomationCondition) -> dg.AutomationCondition:
    """What settles a change: that it was asked for. That it was made does not: the run may have read what was before."""
    return Condition.newly_requested() & ~content_changed


def _assets(names: tuple[str, ...]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(key_of(name) for name in names))


_CHAIN = ("chunked_corpus", "promoted/chunk_embeddings")
REFRESH: Mapping[str, dg.AutomationCondition] = {
    **dict.fromkeys(
        ("crawl_documents", "rejected_documents", "link_rot"),
        made_from("landed_crawl", before=_CHAIN, is_first=True),
    ),
    "chunked_corpus": made_from("crawl_documents", before=_CHAIN[1:]),
    "promoted/chunk_embeddings": made_from("chunked_corpus", "promoted_checkpoint"),
    "final_index": made_when_all_is_quiet(
        "promoted/chunk_embeddings", "chunked_corpus", "crawl_documents", needs=("promoted_checkpoint",)
    ),
    "catalog": made_when_all_is_quiet("final_index"),
}
"""By asset: when the daemon makes it without being asked."""


def refresh_sensor() -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates REFRESH; on by default, as the landings sensor is."""
    return dg.AutomationConditionSensorDefinition(
        "refresh",
        description="Brings what landed to documents, chunks, embeddings and the live index; trains nothing.",
        target=_assets(tuple(REFRESH)),
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags=REFRESH_TAGS,
    )
