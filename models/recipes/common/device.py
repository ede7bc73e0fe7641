"""Where training runs: a GPU if there is one, else the processor."""

import torch


def best() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
