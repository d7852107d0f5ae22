"""What the calls behind a data set cost: the ledger's rows of exactly the requests that its drafts and checks were made of."""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from resources.home import Home
from resources.vlm_roles import ledger_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Calls of one step to one model."""

    step: str
    """Of the funnel; "negatives" for the judge of hard negatives."""
    model: str
    num_calls: int
    """Answered and paid for; replies from the cache do not count."""
    input_tokens: int
    output_tokens: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a data set cost."""

    spent: tuple[Spending, ...]
    """In the order of the funnel."""
    num_requests: int
    """Different ones that the data set was made of."""
    num_unknown: int
    """Of these, without a paid row in the ledger: their replies were brought from another home."""


def cost_of(home: Home) -> Cost:
    """Cost of the home's NyxQA as its tables are now.

    A request counts for the first step that made it. What was asked for tables that are no more, for feedback or for
    scores, is not part of it. Which calls judged the negatives is in no table, so of them all in the ledger count.
    """
    requests = dict.fromkeys(_requests(home))
    step_by_digest: dict[str, tuple[int, str]] = {}
    for place, (step, digest) in enumerate(requests):
        step_by_digest.setdefault(digest, (place, step))
    if not any(ledger_folder(home).glob("*.jsonl")):
        return Cost(spent=(), num_requests=len(step_by_digest), num_unknown=len(step_by_digest))
    made_of = pa.table(
        {
            "request_digest": list(step_by_digest),
            "place": pa.array([place for place, _ in step_by_digest.values()], pa.int64()),
            "step": pa.array([step for _, step in step_by_digest.values()], pa.string()),
        },
        schema=pa.schema([("request_digest", pa.string()), ("place", pa.int64()), ("step", pa.string())]),
    )
    with duckdb.connect(":memory:") as connection:
        connection.register("made_of", made_of)
        connection.execute(
            "CREATE TEMP TABLE paid AS SELECT * FROM read_json(?, format = 'newline_delimited', ignore_errors = true, "
            "columns = {asset: 'VARCHAR', model: 'VARCHAR', request_digest: 'VARCHAR', input_tokens: 'BIGINT', "
            "output_tokens: 'BIGINT', cost_usd: 'DOUBLE', is_cached: 'BOOLEAN', error: 'VARCHAR'}) "
            "WHERE NOT is_cached AND error IS NULL",
            [str(ledger_folder(home) / "*.jsonl")],
        )
        rows = connection.execute(
            "SELECT coalesce(step, 'negatives') AS step, model, count(*), sum(input_tokens)::BIGINT, "
            "sum(output_tokens)::BIGINT, sum(cost_usd)::DOUBLE FROM paid LEFT JOIN made_of USING (request_digest) "
            "WHERE step IS NOT NULL OR asset = 'negatives' GROUP BY 1, 2 ORDER BY min(place) NULLS LAST, model"
        ).fetchall()
        (num_unknown,) = connection.execute(
            "SELECT count(*) FROM made_of WHERE request_digest NOT IN (SELECT request_digest FROM paid)"
        ).fetchall()[0]
    return Cost(
        spent=tuple(
            Spending(step=step, model=model, num_calls=calls, input_tokens=inputs, output_tokens=outputs, usd=usd)
            for step, model, calls, inputs, outputs, usd in rows
        ),
        num_requests=len(step_by_digest),
        num_unknown=num_unknown,
    )


def _requests(home: Home) -> Iterator[tuple[str, str]]:
    """Step and digest of every request behind the tables, in the order of steps; some come twice."""
    for digest in home.tables.read("raw_qa", columns=["request_digest"])["request_digest"].to_pylist():
        if digest is not None:  # of a refused call
            yield "write", digest
    funnel = home.tables.read("qa_funnel", columns=["step", "check", "request_digests"]).to_pylist()
    for row in sorted(funnel, key=lambda row: row["step"]):
        for digest in row["request_digests"]:
            yield row["check"], digest
