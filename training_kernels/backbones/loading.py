"""Weights from a folder in the hub's layout, whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from training_kernels.errors import DataError
from training_kernels.memory import is_out_of_memory


def load_model(folder: Path, *, dtype: torch.dtype, device: torch.device) -> Any:
    """The model without language head that the folder's config.json names, in evaluation mode.

    Raises DataError where the weights do not fill it: transformers would go on with random ones.
    """
    try:
        model, report = AutoModel.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except (OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise DataError(f"{folder} holds no weights that transformers can load: {str(error)[:500]}") from error
    absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if absent:
        raise DataError(
            f"the weights in {folder} lack or do not fit {len(absent)} tensors of a {type(model).__name__}, such as "
            f"{absent[0]}; they are of another model than its config.json, or cut off: copy the folder again"
        )
    return model.to(device).eval()


def bare_model(model: Any) -> Any:
    """The model without the adapter's wrapper around it; its adapted layers stay adapted."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
