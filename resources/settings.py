"""What the environment says: the one place that reads NYX_* variables.

NYX_HOME      storage root: a folder, or any fsspec URL (s3://bucket/prefix); default nyx_home in the working directory
NYX_LOCAL     folder of this machine for locks, journals, Dagster's records and copies of checkpoints; needed where NYX_HOME
              is a URL, and for a folder that several hosts mount; default: NYX_HOME itself
NYX_CRAWL     crawl: a folder, or any fsspec URL (s3://bucket/prefix); default the one that the home is made from, else the
              bundled sample
NYX_LANDING_SECONDS
              how often the daemon looks at the crawl; in an object store each look lists all of it; default 30
NYX_RECIPE    pipeline recipe (nyx_assets/recipes.py); default tiny
NYX_BACKBONE  backbone in place of the recipe's: a known name, a folder or a hub name
NYX_INDEX_URI Milvus server in place of the embedded index file
NYX_MINING    mining recipe in place of the recipe's: paper, published, guarded or judged
NYX_MINER     miner in place of the recipe's, by a name that nyx_assets/miners.py lists
NYX_CAPTION_EMBEDDER
              what reads texts with captions, as a baseline: a retriever that embeds, or sentence-transformers:MODEL or
              endpoint:MODEL in place of the recipe's
NYX_ROUNDS    feedback rounds at most, in place of the recipe's
NYX_PUBLIC_SETS
              folder of public training sets (nyx_assets/training/public_sets.py); without it none is trained on
NYX_SUITES    folder of published benchmarks, one folder each, for `nyx evaluate --suite NAME`
NYX_PROMPTS   folder of prompts of one's own, each at the place of the one it stands for, such as
              nyxqa/write_text_only_qa.v1.md; the others are the packaged ones
NYX_BLOCKED_DOMAINS
              file of domains, one a line, whose pages no question is kept of (nyx_assets/nyxqa/unsafe.py)
NYX_EMBEDDER_BASE_URL, _MODEL, _API_KEY, _MAX_IN_FLIGHT, _TIMEOUT_SECONDS, _MAX_RETRIES, _USD_PER_MILLION_INPUT:
              a server with /v1/embeddings, for the miner `endpoint`
NYX_<ROLE>_BASE_URL, _MODEL, _API_KEY, _MAX_IN_FLIGHT, _TIMEOUT_SECONDS, _MAX_RETRIES,
              _USD_PER_MILLION_INPUT, _USD_PER_MILLION_OUTPUT:
              an OpenAI-compatible server for a role: TEACHER, GENERATOR, JUDGE; without a base URL the role is
              played by the offline stand-in
NYX_GENERATORS
              names of further generators, separated by commas, that answer the test questions beside GENERATOR; each has
              an NYX_<NAME>_BASE_URL and so on of its own
NYX_MAX_CALLS, NYX_MAX_TOKENS, NYX_MAX_USD
              the most that calls to servers may take in this home, by all its processes and hosts together; default: no cap
NYX_BUDGET_SINCE
              what was spent before this moment (ISO 8601, UTC unless it says otherwise) does not count; default: all does
NYX_FETCH     on: pictures behind http(s) references are fetched; off (default): they are rejected
NYX_FETCH_CONTACT
              address of a page or mailbox that the user agent names; needed with NYX_FETCH=on
NYX_FETCH_ALLOW
              host names and networks that are fetched from although they are not public, separated by commas
NYX_VISION_CACHE_BYTES
              most bytes in this home for what vision towers made of pictures; default 0: every run reads them again
NYX_DEVICE    cuda: what computes on a GPU fails where there is none; default auto: it then takes the CPU. Read where the
              device is chosen, training_kernels/device.py
NYX_TRAIN_PROCESSES
              processes that train together under torchrun, one a device; default 1: in the process of the asset
NYX_TRAIN_NODES, NYX_TRAIN_RENDEZVOUS
              machines that train together, each with NYX_TRAIN_PROCESSES, and the host:port of one where they meet; the
              asset's own machine is one, on the others the command that it logs is started by hand or by a job; default: 1
NYX_K8S_STEPS file with the configuration of dagster-k8s' executor (deploy/steps.yaml): each step in a pod of its own; default:
              all steps of a run in its own process
NYX_MAX_ATTEMPTS
              failures of one asset of a crawl partition after which the partition is quarantined; default 3
NYX_RETRAIN   on: the daemon starts a retraining when enough has changed; off (default): only `nyx run` trains
NYX_RETRAIN_SHARE
              share of the trained chunks that has to be new or changed before a retraining starts; default 0.1, and no
              share at all where NYX_RETRAIN_CRON is set
NYX_RETRAIN_PAGES
              pages, new or changed, that start one whatever their share; default: the share alone counts
NYX_RETRAIN_CRON, NYX_RETRAIN_TIMEZONE
              times at which one starts if anything at all is new or changed, as cron writes them ("0 3 * * *"), and the
              time zone that they are meant in; default: no times, UTC
NYX_ALERT_WEBHOOK
              address that failures are posted to as JSON, {"text": …}; default: they are told in the log alone
NYX_VLM       live (default), or replay: answer from kept replies only, and fail on a request without one
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from resources.crawl_store import Crawl, crawl_at
from resources.endpoint_client import Endpoint
from resources.fetch_addresses import AllowList, WebAccess
from resources.stores import SharedHome, is_url
from resources.vlm_budget import Caps
from training_kernels.errors import ConfigError

Role = Literal["teacher", "generator", "judge"]
ROLES: tuple[Role, ...] = ("teacher", "generator", "judge")
GENERATOR_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingRule:
    """How much has to be new or changed since the last training before the daemon starts another."""

    min_share: float
    """Of the chunks of the last training. Choice of the default, a tenth: less moves no metric beyond its interval.

    inf where a cron string is given and no share: then it says when.
    """
    min_pages: float
    cron: str = ""
    """When anything that is new or changed starts one, however little it is; "": never for that reason."""
    timezone: str = "UTC"
    """Of the cron string."""

    def __str__(self) -> str:
        said = [f"{self.min_share:.1%} of the chunks that were trained on"] if self.min_share < math.inf else []
        said += [f"{self.min_pages:,.0f} pages"] if self.min_pages < math.inf else []
        said += [f"anything at {self.cron} ({self.timezone})"] if self.cron else []
        return " or ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between installations."""

    home: Path | SharedHome
    """A folder, or a store that hosts share with this machine's part of it."""
    crawl: Crawl | None
    """A folder, or the URL of one in a store; None: the one that the home is made from, else the bundled sample."""
    landing_seconds: int
    """Between two looks at the crawl; a delivery that is not marked is complete when both see the same.

    Choice of the least: a file that is being copied grows within five seconds.
    """
    recipe: str
    backbone: str | None
    """None: the recipe's."""
    index_uri: str | None
    """None: the embedded index file in the home."""
    mining: str | None
    """Name of a mining recipe; None: the recipe's own."""
    miner: str | None
    """None: the mining recipe's."""
    caption_embedder: str | None
    """None: the recipe's."""
    rounds: int
    """Feedback rounds at most; 0: the recipe's."""
    public_sets: Path | None
    """Folder of public training sets; None: there are none."""
    suites: Path | None
    """Folder of published benchmarks; None: there are none."""
    prompts: Path | None
    """Folder of prompts in place of the packaged ones of their names; None: there are none."""
    blocked_domains: tuple[str, ...]
    """In addition to the recipe's."""
    embedder: Endpoint | None
    """Server of embeddings for mining; None: there is none."""
    embedder_api_key: str = field(repr=False)
    endpoints: Mapping[Role, Endpoint]
    """Roles that are not here are played by the offline stand-in."""
    api_keys: Mapping[Role, str] = field(repr=False)
    further_generators: Mapping[str, Endpoint]
    """By name; they answer the test questions beside the role."""
    further_api_keys: Mapping[str, str] = field(repr=False)
    caps: Caps
    web: WebAccess | None
    """None: pictures on the web are not fetched."""
    vision_cache_bytes: int
    """0: nothing is kept."""
    needs_gpu: bool
    train_processes: int
    """1: training runs in the process of its asset."""
    train_nodes: int
    """1: this machine alone."""
    train_rendezvous: str
    """host:port where machines that train together meet; "" for one."""
    k8s_steps: Path | None
    """Configuration of the executor that makes each step in a pod; None: steps are made in the process of their run."""
    retraining: RetrainingRule | None
    """None: the daemon starts no retraining."""
    alert_webhook: str | None = field(repr=False)
    """Whoever knows it can post to it. None: failures are told in the log alone."""
    max_attempts: int
    """Of making an asset of a crawl partition, before the partition is quarantined."""
    is_replay: bool
    """True: servers are not asked; a request whose reply is not kept is an error."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Settings from environment variables. Raises ConfigError naming the variable."""
        return cls(
            home=_home(env),
            crawl=crawl_at(env["NYX_CRAWL"]) if env.get("NYX_CRAWL") else None,
            landing_seconds=_whole_number(env, "NYX_LANDING_SECONDS", default=30, least=5),
            recipe=env.get("NYX_RECIPE") or "tiny",
            backbone=env.get("NYX_BACKBONE") or None,
            index_uri=env.get("NYX_INDEX_URI") or None,
            mining=env.get("NYX_MINING") or None,
            miner=env.get("NYX_MINER") or None,
            caption_embedder=env.get("NYX_CAPTION_EMBEDDER") or None,
            rounds=_whole_number(env, "NYX_ROUNDS", default=0, least=1),
            public_sets=Path(env["NYX_PUBLIC_SETS"]) if env.get("NYX_PUBLIC_SETS") else None,
            suites=Path(env["NYX_SUITES"]) if env.get("NYX_SUITES") else None,
            prompts=Path(env["NYX_PROMPTS"]) if env.get("NYX_PROMPTS") else None,
            blocked_domains=_lines_of(env, "NYX_BLOCKED_DOMAINS"),
            embedder=_endpoint("embedder", env),
            embedder_api_key=env.get("NYX_EMBEDDER_API_KEY") or "none",
            endpoints={role: endpoint for role in ROLES if (endpoint := _endpoint(role, env)) is not None},
            api_keys={role: env.get(f"NYX_{role.upper()}_API_KEY") or "none" for role in ROLES},
            further_generators=_further_generators(env),
            further_api_keys={name: env.get(f"NYX_{name.upper()}_API_KEY") or "none" for name in _names(env)},
            caps=Caps(
                max_calls=_number(env, "NYX_MAX_CALLS", default=math.inf, least=0),
                max_tokens=_number(env, "NYX_MAX_TOKENS", default=math.inf, least=0),
                max_usd=_number(env, "NYX_MAX_USD", default=math.inf, least=0),
                since=_moment(env, "NYX_BUDGET_SINCE"),
            ),
            web=_web_access(env),
            vision_cache_bytes=_whole_number(env, "NYX_VISION_CACHE_BYTES", default=0, least=0),
            needs_gpu=_needs_gpu(env),
            train_processes=_whole_number(env, "NYX_TRAIN_PROCESSES", default=1, least=1),
            train_nodes=_whole_number(env, "NYX_TRAIN_NODES", default=1, least=1),
            train_rendezvous=_rendezvous(env),
            k8s_steps=Path(env["NYX_K8S_STEPS"]) if env.get("NYX_K8S_STEPS") else None,
            retraining=_retraining_rule(env),
            alert_webhook=_webhook(env),
            max_attempts=_whole_number(env, "NYX_MAX_ATTEMPTS", default=3, least=1),
            is_replay=_is_replay(env),
        )


OF_THE_INSTALLATION = re.compile(
    r"NYX_(HOME|LOCAL|CRAWL|LANDING_SECONDS|INDEX_URI|ALERT_WEBHOOK|K8S_STEPS|MAX_\w+|BUDGET_SINCE|RETRAIN\w*|TRAIN_\w+"
    r"|DEVICE)"
)
"""What one run may not have otherwise than the rest."""
KEY_NAME = re.compile(r"NYX_\w+_API_KEY")


def changed_settings(env: Mapping[str, str], given: Mapping[str, str]) -> Settings:
    """The settings of an environment with some of its variables put in their place, for one run in the same home.

    Args:
        given: NYX_* variables and their values; that of a key is the name of a variable of `env` which holds it, since what
            is asked of one run is kept in Dagster's records. A server that is put in another's place does not get the key
            of that one.

    Raises ConfigError naming a variable that is unknown, has no effect, or is of the whole installation.
    """
    changed = {**env, **{name: value for name, value in given.items() if not name.endswith("_API_KEY")}}
    for name, value in given.items():
        if OF_THE_INSTALLATION.fullmatch(name):
            raise ConfigError(f"{name} is of the whole installation and cannot differ for one run")
        if name.endswith("_API_KEY"):
            if not KEY_NAME.fullmatch(value) or value not in env:
                raise ConfigError(
                    f"the value of {name} must be the name of an environment variable, NYX_…_API_KEY, that holds the key, "
                    "which is not written into a run's config; there is none of the name that was given"
                )
            changed[name] = env[value]
        if name.endswith("_BASE_URL"):
            if "@" in value:
                raise ConfigError(f"{name} must not hold a user or a password: it is kept in Dagster's records")
            if value != env.get(name) and (key := name.replace("_BASE_URL", "_API_KEY")) not in given:
                changed.pop(key, None)
    noted = _NotingReads(changed)
    settings = Settings.from_env(noted)
    for name in given:
        if name not in noted.read:
            alike = ", ".join(get_close_matches(name, noted.read, n=3))
            near = f"; near it: {alike}" if alike else ""
            raise ConfigError(
                f"{name} is no setting, or has no effect beside the others{near}"
                " (resources/settings.py lists them all; a role's need its NYX_<ROLE>_BASE_URL)"
            )
    return settings


def unpriced(given: Mapping[str, str]) -> list[str]:
    """Prices that would have to be given beside another model or server, for its cost to be known."""
    changed = {name.rpartition("_MODEL")[0] or name.rpartition("_BASE_URL")[0] for name in given}
    prices = [f"{role}_USD_PER_MILLION_{side}" for role in sorted(changed - {""}) for side in ("INPUT", "OUTPUT")]
    return [name for name in prices if name not in given and name != "NYX_EMBEDDER_USD_PER_MILLION_OUTPUT"]


class _NotingReads(dict[str, str]):
    """Variables, and the names that were asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def _home(env: Mapping[str, str]) -> Path | SharedHome:
    home, local = env.get("NYX_HOME") or "nyx_home", env.get("NYX_LOCAL") or ""
    if is_url(local):
        raise ConfigError(f"NYX_LOCAL must be a folder of this machine, where files can be locked, got {local!r}")
    if is_url(home) and not local:
        raise ConfigError(
            f"NYX_HOME={home} is no folder, and locks, journals, Dagster's records and loaded checkpoints need one: set "
            "NYX_LOCAL to a folder of this machine, its own for each home"
        )
    store = home if is_url(home) else str(Path(home).absolute())
    if not local:
        return Path(home)
    return SharedHome(store=store, local=Path(local), has_index_server=is_url(env.get("NYX_INDEX_URI") or ""))


def _lines_of(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The lines of a file, in small letters and without comments; none where it is not set."""
    if not env.get(name):
        return ()
    try:
        text = Path(env[name]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} must be a text file, got {env[name]!r}: {error}") from None
    lines = (line.partition("#")[0].strip().casefold().strip(".") for line in text.splitlines())
    return tuple(sorted({line for line in lines if line}))


def _moment(env: Mapping[str, str], name: str) -> float:
    """Seconds since 1970 of an ISO 8601 moment; 0 where it is not set."""
    value = env.get(name)
    if not value:
        return 0.0
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ConfigError(
            f"{name} must be a moment as ISO 8601 writes it, like 2026-11-01T00:00, got {value!r}"
        ) from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _web_access(env: Mapping[str, str]) -> WebAccess | None:
    value = env.get("NYX_FETCH") or "off"
    if value not in ("off", "on"):
        raise ConfigError(f"NYX_FETCH must be off or on, got {value!r}")
    if value == "off":
        return None
    allow = AllowList.from_text(env.get("NYX_FETCH_ALLOW") or "")
    return WebAccess(contact=env.get("NYX_FETCH_CONTACT") or "", allow=allow)


def _rendezvous(env: Mapping[str, str]) -> str:
    nodes, value = _whole_number(env, "NYX_TRAIN_NODES", default=1, least=1), env.get("NYX_TRAIN_RENDEZVOUS") or ""
    if nodes > 1 and not re.fullmatch(r"[^\s:]+:[0-9]+", value):
        raise ConfigError(f"NYX_TRAIN_NODES={nodes} machines meet at NYX_TRAIN_RENDEZVOUS=host:port, got {value!r}")
    return value


def _retraining_rule(env: Mapping[str, str]) -> RetrainingRule | None:
    value, cron = env.get("NYX_RETRAIN") or "off", env.get("NYX_RETRAIN_CRON") or ""
    if value not in ("off", "on"):
        raise ConfigError(f"NYX_RETRAIN must be off or on, got {value!r}")
    if value == "off" and cron:
        raise ConfigError(
            f"NYX_RETRAIN_CRON={cron!r} starts nothing while NYX_RETRAIN is off: set NYX_RETRAIN=on as well"
        )
    if value == "off":
        return None
    return RetrainingRule(
        min_share=_number(env, "NYX_RETRAIN_SHARE", default=math.inf if cron else 0.1, least=0),
        min_pages=_number(env, "NYX_RETRAIN_PAGES", default=math.inf, least=1),
        cron=cron,
        timezone=_timezone(env, "NYX_RETRAIN_TIMEZONE"),
    )


def _timezone(env: Mapping[str, str], name: str) -> str:
    value = env.get(name) or "UTC"
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{name} must be a time zone such as Europe/Berlin, got {value!r}") from None
    return value


def _webhook(env: Mapping[str, str]) -> str | None:
    value = env.get("NYX_ALERT_WEBHOOK") or None
    if value is not None and not value.startswith(("http://", "https://")):
        raise ConfigError("NYX_ALERT_WEBHOOK must be an address that begins with http:// or https://")
    return value


def _needs_gpu(env: Mapping[str, str]) -> bool:
    value = env.get("NYX_DEVICE") or "auto"
    if value not in ("auto", "cuda"):
        raise ConfigError(f"NYX_DEVICE must be auto or cuda, got {value!r}")
    return value == "cuda"


def _is_replay(env: Mapping[str, str]) -> bool:
    value = env.get("NYX_VLM") or "live"
    if value not in ("live", "replay"):
        raise ConfigError(f"NYX_VLM must be live or replay, got {value!r}")
    return value == "replay"


def _names(env: Mapping[str, str]) -> list[str]:
    """The names of NYX_GENERATORS, in small letters."""
    return [name.strip().lower() for name in (env.get("NYX_GENERATORS") or "").split(",") if name.strip()]


def _further_generators(env: Mapping[str, str]) -> dict[str, Endpoint]:
    """Endpoints by name. Raises ConfigError for a name that is taken, no endpoint, or a model that answers already."""
    names = _names(env)
    taken = {"generator": endpoint.model} if (endpoint := _endpoint("generator", env)) else {}
    found: dict[str, Endpoint] = {}
    for name in names:
        if not GENERATOR_NAME.fullmatch(name) or name in (*ROLES, "embedder") or names.count(name) > 1:
            raise ConfigError(
                f"NYX_GENERATORS names each further generator once, by letters, digits and underscores and none of "
                f"{', '.join((*ROLES, 'embedder'))}; got {env['NYX_GENERATORS']!r}"
            )
        if (endpoint := _endpoint(name, env)) is None:
            raise ConfigError(
                f"NYX_GENERATORS names {name} but NYX_{name.upper()}_BASE_URL is not set; set it, or take {name} off the list"
            )
        if endpoint.model in taken.values():
            raise ConfigError(
                f"NYX_{name.upper()}_MODEL is {endpoint.model!r}, which answers under another name already; rows tell "
                "generators apart by their model"
            )
        taken[name] = endpoint.model
        found[name] = endpoint
    return found


def _endpoint(role: str, env: Mapping[str, str]) -> Endpoint | None:
    prefix = f"NYX_{role.upper()}_"
    base_url = env.get(prefix + "BASE_URL")
    if not base_url:
        return None
    if not env.get(prefix + "MODEL"):
        raise ConfigError(f"{prefix}BASE_URL is set but {prefix}MODEL is not: name the model that {base_url} serves")
    return Endpoint(
        base_url=base_url,
        model=env[prefix + "MODEL"],
        max_in_flight=_whole_number(env, prefix + "MAX_IN_FLIGHT", default=8, least=1),
        timeout_seconds=_number(env, prefix + "TIMEOUT_SECONDS", default=300, least=1),
        max_retries=_whole_number(env, prefix + "MAX_RETRIES", default=6, least=0),
        price_per_million_input_tokens=_number(env, prefix + "USD_PER_MILLION_INPUT", default=0, least=0),
        price_per_million_output_tokens=_number(env, prefix + "USD_PER_MILLION_OUTPUT", default=0, least=0),
    )


def _number(env: Mapping[str, str], name: str, *, default: float, least: float) -> float:
    value = env.get(name)
    if not value:
        return float(default)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        raise ConfigError(f"{name} must be a number of at least {least}, got {value!r}")
    return number


def _whole_number(env: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    number = _number(env, name, default=default, least=least)
    if not number.is_integer():
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {env[name]!r}")
    return int(number)
