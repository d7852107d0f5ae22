"""Is there a GPU, and what can it do?"""

import os

from nyx_assets.doctor.findings import Finding, bad, good, note


def examine_device(train_processes: int, *, needs_gpu: bool = False) -> Finding:
    """The CUDA devices with memory and bfloat16, or what it means that there is none.

    Args:
        train_processes: NYX_TRAIN_PROCESSES, which take a device each.
        needs_gpu: NYX_DEVICE=cuda, with which nothing is trained or embedded without a GPU.
    """
    import torch

    if not torch.cuda.is_available():
        said = f"none, torch {torch.__version__} on {os.cpu_count()} cores: training and embedding run on the CPU in float32"
        if needs_gpu:
            return bad(
                "gpu",
                f"none for NYX_DEVICE=cuda, torch {torch.__version__}",
                "give it a GPU and a torch with CUDA, or unset NYX_DEVICE",
            )
        if torch.version.cuda is not None:
            return note("gpu", said, "this torch is built for CUDA: `nvidia-smi` says whether the driver sees a device")
        return note(
            "gpu",
            f"{said}; fit for the recipes smoke, tiny and, overnight, cpu; hours to days for a model of 2 billion parameters",
        )
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    named = "; ".join(f"{one.name}, {one.total_memory / 2**30:.0f} GiB" for one in devices)
    if len(devices) < train_processes:
        return bad(
            "gpu",
            f"{named}: {len(devices)} for NYX_TRAIN_PROCESSES={train_processes}",
            f"set NYX_TRAIN_PROCESSES to at most {len(devices)}",
        )
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return note("gpu", f"{named}; no bfloat16: training takes float32 and about twice the memory")
    free_bytes, _ = torch.cuda.mem_get_info()
    return good("gpu", f"{named}, {free_bytes / 2**30:.0f} GiB of the first free; bfloat16; torch {torch.__version__}")
