"""The plan of the next run: which assets it would make, and what that asks of the VLMs behind the roles."""

from collections.abc import Iterator, Sequence
from functools import partial

from nyx_assets.corpus.deliveries import Delivery, FoundDeliveries, delivery_from_rows, find_deliveries
from nyx_assets.corpus.landing import has_landed, landed_rows
from nyx_assets.main_job import Pipeline
from nyx_assets.past_calls import PastCalls, funnel_sums, past_calls
from nyx_assets.past_runs import past_runs
from nyx_assets.planned_calls import Planner, chunks_by_page, spread
from nyx_assets.planned_embeddings import EMBEDDER, EmbeddingPlanner
from nyx_assets.planned_work import Foreseen, Landing
from nyx_assets.planning import Plan, Range, RoleTerms, lines_of
from nyx_assets.recipes import recipe_of
from nyx_assets.scope import Scope
from resources.crawl_store import Crawl
from resources.embedder_endpoint import texts_embedded
from resources.endpoint_client import Endpoint
from resources.home import Home
from resources.settings import ROLES, Settings
from resources.vlm_roles import budget_of, replies_of
from training_kernels.errors import DataError

MAX_NAMED = 3
SECONDS_A_CALL = Range(2, 6, 20)
"""Choice: a reply of some hundred tokens from a hosted model or a loaded vLLM; used until the ledger knows better."""


def plan_of(pipeline: Pipeline, settings: Settings, home: Home, crawl: Crawl, scope: Scope | None = None) -> Plan:
    """What `nyx run` on that crawl has ahead; or a main job of that scope, which takes note of no delivery.

    What landed and is not in the crawl any more is planned from its chunks, as a run works on from them. Asks nothing, writes
    nothing; raises DataError for a wrong folder, where deliveries are to be taken note of.
    """
    found = _found(home, crawl, scope)
    landing_by_key: dict[str, Landing] = dict.fromkeys(home.tables.partitions("landed_crawl"), "same")
    for delivery in found.deliveries if scope is None else ():
        if not has_landed(home, delivery):
            landing_by_key[delivery.key] = "changed" if delivery.key in landing_by_key else "new"
        else:
            landing_by_key[delivery.key] = "same"
    foreseen = Foreseen(pipeline, home, landing_by_key, scope)
    there = {delivery.key for delivery in found.deliveries}
    gone = [_landed(home, key) for key in foreseen.keys if key not in there]
    deliveries = [*(one for one in found.deliveries if one.key in landing_by_key), *gone]
    lost = [one.key for one in gone if foreseen.is_ahead("chunked_corpus", one.key)]
    pages_by_key = {delivery.key: delivery.num_rows for delivery in deliveries}
    past = past_calls(home)
    endpoints: dict[str, Endpoint | None] = {role: settings.endpoints.get(role) for role in ROLES}
    endpoints |= settings.further_generators
    model_by_role: dict[str, str] = {role: pipeline.resources[role].model for role in ROLES}
    model_by_role |= {name: endpoint.model for name, endpoint in settings.further_generators.items()}
    recipe = recipe_of(settings)
    embeddings = None
    if settings.embedder is not None:
        embeddings = EmbeddingPlanner(
            home=home,
            recipe=recipe,
            model=settings.embedder.model,
            kept=texts_embedded(settings, home),
            needs=foreseen.is_ahead,
            chunks_by_page=partial(chunks_by_page, recipe=recipe),
            spread=spread,
        )
    planner = Planner(
        home=home,
        recipe=recipe,
        replies=replies_of(home),
        model_by_role=model_by_role,
        needs=foreseen.is_ahead,
        past=past,
        funnel=funnel_sums(home),
        embeddings=embeddings,
    )
    terms = {role: _terms(endpoints[role], model, past) for role, model in model_by_role.items()}
    if settings.embedder is not None:
        terms[EMBEDDER] = _terms(settings.embedder, settings.embedder.model, past)
    budget = budget_of(settings, home)
    return Plan(
        lines=lines_of(planner.planned([one for one in deliveries if one.key not in lost]), terms),
        spent=budget.spent_by_all(),
        interrupted=len(budget.interrupted()),
        caps=settings.caps,
        work=tuple(foreseen.work(past_runs(pipeline, home, pages_by_key))),
        refused=(*(f"{one.key}: {one.reason}" for one in found.refused if scope is None), *_not_counted(lost)),
        elsewhere=budget.elsewhere(),
    )


def _found(home: Home, crawl: Crawl, scope: Scope | None) -> FoundDeliveries:
    """The deliveries of a crawl. One that is not there now, or is empty, stops no main job that takes note of none."""
    try:
        return find_deliveries(crawl, counted=partial(landed_rows, home))
    except DataError:
        if scope is None:
            raise
        return FoundDeliveries(deliveries=(), unchanged=(), refused=())


def _landed(home: Home, key: str) -> Delivery:
    """A delivery as it landed, wherever its files are now."""
    return delivery_from_rows(key, home.tables.read("landed_crawl", partition=key).to_pylist())


def _not_counted(keys: Sequence[str]) -> Iterator[str]:
    """Why nothing is asked about deliveries that are to be read once more and are not there to be read."""
    if keys:
        named = ", ".join(keys[:MAX_NAMED]) + (f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else "")
        yield f"{named}: to be cut into chunks, and not to be read in the crawl now; what would be asked is not counted"


def _terms(endpoint: Endpoint | None, model: str, past: dict[tuple[str, str], PastCalls]) -> RoleTerms:
    """Price and pace of a role: its endpoint's prices, and the quartiles of what its model took so far."""
    measured = [calls.seconds for (_, name), calls in past.items() if name == model]
    seconds = SECONDS_A_CALL
    if measured:
        seconds = sum(measured, Range.exactly(0)) * (1 / len(measured))
    return RoleTerms(
        model=model,
        is_free=endpoint is None,
        max_in_flight=endpoint.max_in_flight if endpoint is not None else 1,
        usd_per_input_token=endpoint.cost_usd(1, 0) if endpoint is not None else 0.0,
        usd_per_output_token=endpoint.cost_usd(0, 1) if endpoint is not None else 0.0,
        seconds_a_call=seconds,
    )
