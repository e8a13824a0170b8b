"""Where PyTorch computes, and a clock that waits for it: $PEER_DEVICE, `cuda` say; the CPU without it."""

import os
import time

import torch

DEVICE = os.environ.get("PEER_DEVICE", "cpu")


def clock():
    """Seconds, once everything that was asked of the device is done."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def where():
    """What ran, for the line of JSON; on a GPU with the most memory that was held there."""
    found = {"version": torch.__version__, "device": DEVICE, "threads": torch.get_num_threads()}
    if DEVICE != "cpu":
        found["device"] = torch.cuda.get_device_name()
        found["peak_device_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found
