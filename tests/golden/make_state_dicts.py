"""Writes state_dicts.json: names, order, shapes and dtypes of the state of every class of torch.nn, as torch has them.

PYTHONPATH=tests python tests/golden/make_state_dicts.py
"""

import json
import pathlib
from typing import Any

import torch
from catalogue_composites import CASES as COMPOSITES
from catalogue_kernels import CASES as KERNELS
from catalogue_losses import CASES as LOSSES
from catalogue_pointwise import CASES as POINTWISE
from module_case import Case

CASES: list[Case] = [*POINTWISE, *KERNELS, *LOSSES, *COMPOSITES]
FILE = pathlib.Path(__file__).with_name("state_dicts.json")


def description(module: Any) -> dict[str, str]:
    """What the state_dict of a module of either world looks like: ``{name: "dtype[shape]"}``, in order."""
    state = module.state_dict()
    return {name: f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}" for name, x in state.items()}


def make() -> str:
    """The text of the file."""
    torch.manual_seed(0)
    table = {case.code: description(case.materialised(torch.nn)) for case in CASES}
    return json.dumps({"torch": torch.__version__.partition("+")[0], "state_dicts": table}, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(make())
