"""One export: the rows, the pictures and the card, in a folder that appears whole or not at all."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nyx_assets.export.beir import write_beir
from nyx_assets.export.card import card
from nyx_assets.export.folders import PicturePlacer, new_folder
from nyx_assets.export.formats import mmeb_row, swift_row, write_rows
from nyx_assets.export.huggingface import configurations, write_huggingface
from nyx_assets.export.nyxqa import SPLITS, NyxQA, read_nyxqa
from nyx_assets.export.spending import cost_of
from resources.home import Home
from training_kernels.errors import ConfigError, DataError

Format = Literal["hf", "beir", "mmeb", "swift"]
FORMATS: tuple[Format, ...] = get_args(Format)

DEFAULT_SPLIT: dict[Format, str] = {"beir": "test", "mmeb": "train", "swift": "train"}
"""The split that a format is mostly for; hf holds all of them."""

HOW_TO_READ: dict[Format, str] = {
    "hf": '`datasets.load_dataset(FOLDER, "qa")` and `datasets.load_dataset(FOLDER, "corpus")`; a pair names its golden '
    "chunk and its hard negatives by `chunk_id`. Pictures lie inside the Parquet files.",
    "beir": "`corpus.jsonl`, `queries.jsonl` and `qrels/` as BEIR (texts, with a mark for each picture); `trec/` for "
    "trec_eval; the whole folder as a suite with pictures: `nyx evaluate --suite FOLDER --retriever NAME`.",
    "mmeb": "One JSON object a line, every field a text; lists are written as JSON, to be read with a JSON parser. "
    "`<|image_n|>` stands for the n-th path; paths are relative to this folder.",
    "swift": "`swift sft --task_type embedding --loss_type infonce --dataset FOLDER/…jsonl`; paths are relative to this "
    "folder, so run it from here.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written."""

    folder: str
    format: Format
    rows: dict[str, int]
    pictures: int
    """Files beside the rows; those inside Parquet files do not count."""
    has_stand_ins: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export(home: Home, out: Path, export_format: Format, split: str | None) -> ExportReport:
    """Write NyxQA to a folder that does not exist yet; None for the split that the format is for.

    Raises ConfigError if the folder exists, DataError where there is nothing to write, IncompleteArtifact if a table was
    not made.
    """
    with new_folder(out) as folder:
        data = read_nyxqa(home)
        pictures = PicturePlacer(folder, home.images)
        counts = _write(data, home, folder, export_format, split, pictures)
        text = card(
            data,
            cost_of(home),
            export_format=export_format,
            counts=counts,
            how_to_read=HOW_TO_READ[export_format],
            configurations=configurations(counts) if export_format == "hf" else (),
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
    return ExportReport(
        folder=str(out),
        format=export_format,
        rows=counts,
        pictures=pictures.num_pictures,
        has_stand_ins=any(pair.is_stand_in for pair in data.pairs),
    )


def _write(
    data: NyxQA, home: Home, folder: Path, export_format: Format, split: str | None, pictures: PicturePlacer
) -> dict[str, int]:
    if split is not None and split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; known: {', '.join(SPLITS)}")
    if export_format == "hf":
        return write_huggingface(folder, data, SPLITS if split is None else (split,), home.images)
    chosen = split or DEFAULT_SPLIT[export_format]
    pairs = data.of_split(chosen)
    if not pairs:
        raise DataError(f"no pair is in the split {chosen!r}; choose another with --split, or land more pages")
    if export_format == "beir":
        return write_beir(folder, data, chosen, pictures.path)
    row = mmeb_row if export_format == "mmeb" else swift_row
    return {chosen: write_rows(folder / f"{chosen}.jsonl", (row(pair, data, pictures.path) for pair in pairs))}
