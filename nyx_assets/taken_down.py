"""What was taken down and must not come back: the list that a later delivery of the same pages is held against.

    <home>/takedowns/<id>.json    one request; beside what it asks for, what is still to be removed until it is done

Of a picture only a digest of its digest is kept, so that the list itself does not name what it removes.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from resources.home import Home
from resources.images import FolderImageStore, PictureLimits, PictureRefused, StoredImage, verified
from training_kernels.errors import ConfigError

Kind = Literal["url", "domain", "image", "document"]
RULE = "taken_down"
DOC_ID = re.compile(r"[0-9a-f]{20}")
IMAGE_DIGEST = re.compile(r"[0-9a-f]{64}")
DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class Target:
    """What a takedown asks for: an address, a host with those below it, a picture by its SHA-256, or a page by its id."""

    kind: Kind
    value: str

    @classmethod
    def of(cls, text: str) -> "Target":
        """Raises ConfigError for what is none of the four."""
        text = text.strip()
        if IMAGE_DIGEST.fullmatch(text.lower()):
            return cls("image", text.lower())
        if DOC_ID.fullmatch(text.lower()):
            return cls("document", text.lower())
        if "://" in text and host_of(text):
            return cls("url", text)
        if DOMAIN.fullmatch(text.lower()):
            return cls("domain", text.lower().removeprefix("www."))
        raise ConfigError(
            f"a takedown names an address (https://…), a domain, a picture by its SHA-256 (64 hex digits) or a page by its "
            f"doc_id (20 hex digits), got {text!r}"
        )

    @property
    def kept_value(self) -> str:
        """What the list keeps of it."""
        return veiled(self.value) if self.kind == "image" else self.value


@dataclass(kw_only=True, slots=True)
class Takedown:
    """One request as the list keeps it."""

    kind: Kind
    value: str
    """Target.kept_value."""
    asked_at: str
    is_done: bool
    addresses: list[str] = field(default_factory=list)
    """Digests of the addresses of pages that were removed because of their id or a picture."""
    doc_ids: list[str] = field(default_factory=list)
    """Pages that were removed."""
    chunk_ids: list[str] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)
    """What is still to be removed, by kind; empty once it is done."""
    veiled: list[str] = field(default_factory=list)
    """Digests of pictures and of addresses of pictures that were removed: what a host that comes later knows its own by."""

    @property
    def name(self) -> str:
        return hashlib.sha256(f"{self.kind} {self.value}".encode()).hexdigest()[:20]


def veiled(digest: str) -> str:
    """A digest of a digest: enough to know a picture again, and nothing to find it by."""
    return hashlib.sha256(f"nyx takedown {digest}".encode()).hexdigest()


class Veiled(Collection[str]):
    """Tells whether something is among what was removed, and not what that was."""

    def __init__(self, digests: Iterable[str]) -> None:
        self._digests = frozenset(digests)

    def __contains__(self, one: object) -> bool:
        return isinstance(one, str) and bool(self._digests) and veiled(one) in self._digests

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return len(self._digests)


def host_of(address: str) -> str:
    """The host in lower case without "www."; "" where there is none."""
    try:
        return (urlsplit(address).hostname or "").removeprefix("www.")
    except ValueError:  # brackets that hold no address
        return ""


def address_key(address: str) -> str:
    """Equal for addresses of one page: scheme, "www.", fragment and a last slash make no difference."""
    parts = urlsplit(address) if host_of(address) else None
    if parts is None:
        return address
    return f"{host_of(address)}{parts.path.rstrip('/')}?{parts.query}"


def is_of_domain(address: str, domain: str) -> bool:
    host = host_of(address)
    return host == domain or host.endswith(f".{domain}")


def takedowns(home: Home) -> list[Takedown]:
    """Every request, by name."""
    home.mirror.bring("takedowns")
    files = sorted((home.root / "takedowns").glob("*.json"))
    return [Takedown(**json.loads(file.read_text())) for file in files if not file.name.startswith(".")]


def keep_takedown(home: Home, takedown: Takedown) -> Path:
    """Write a request to the list, in place of an earlier state of it."""
    place = home.root / "takedowns" / f"{takedown.name}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    beside.write_text(json.dumps(asdict(takedown), indent=1))
    beside.replace(place)
    home.mirror.send("takedowns")
    return place


class TakenDown:
    """The list as the corpus stage asks it."""

    def __init__(self, requests: list[Takedown]) -> None:
        values: dict[str, set[str]] = {kind: set() for kind in ("url", "domain", "image", "document")}
        for request in requests:
            values[request.kind].add(request.value)
        self._addresses = {address_key(value) for value in values["url"]}
        self._domains = values["domain"]
        self.images = frozenset(values["image"])
        self._doc_ids = {doc_id for request in requests for doc_id in request.doc_ids} | values["document"]
        self._known = {
            one for request in requests if request.kind in ("image", "document") for one in request.addresses
        }

    @classmethod
    def of(cls, home: Home) -> "TakenDown":
        return cls(takedowns(home))

    def refuses_address(self, url: str) -> bool:
        """Whether no page of this address may be taken, whatever it holds."""
        return address_key(url) in self._addresses or any(is_of_domain(url, domain) for domain in self._domains)

    def refuses_document(self, doc_id: str) -> bool:
        return doc_id in self._doc_ids

    def is_suspect(self, url: str) -> bool:
        """Whether a page of this address was removed for its id or a picture: look before anything of it is stored."""
        return veiled(url) in self._known

    def store(self, home: Home) -> FolderImageStore:
        """The home's pictures, where none comes in that was taken down."""
        return GuardedImages(home.images.root, self.images) if self.images else home.images


class GuardedImages(FolderImageStore):
    """A store that refuses pictures that were taken down."""

    def __init__(self, root: str, refused: frozenset[str]) -> None:
        super().__init__(root)
        self._refused = refused

    def put(self, data: bytes, *, limits: PictureLimits) -> StoredImage:
        _require_allowed(data, self._refused)
        return super().put(data, limits=limits)


class ForgetfulImages(GuardedImages):
    """Says what a picture is and stores nothing: for a look at a page that may have to stay out."""

    def put(self, data: bytes, *, limits: PictureLimits) -> StoredImage:
        _require_allowed(data, self._refused)
        return verified(data, limits=limits)


def _require_allowed(data: bytes, refused: frozenset[str]) -> None:
    if refused and veiled(hashlib.sha256(data).hexdigest()) in refused:
        raise PictureRefused(RULE, "the picture was taken down")


def taken_down_row(page: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `rejected_documents` of a page that was taken down; of it are needed url, source_file and source_row."""
    place = f"{page['source_file']} row {page['source_row']}"
    return {
        "doc_id": None,
        "kind": "page",
        "reference": page["url"] or place,
        "rule": RULE,
        "reason": f"{place}: taken down",
        "source_file": page["source_file"],
        "source_row": page["source_row"],
        "position": None,
    }
