"""Keys of a DeepSpeed file that DeepSpeed itself refuses."""

import os

import pytest
import torch

from ddarts.config.ds_config import Steps, merged
from ddarts.runtime.errors import UsageError


@pytest.mark.slow
def test_a_key_that_deepspeed_does_not_take_is_named(monkeypatch):
    pytest.importorskip("deepspeed")
    from ddarts.runtime.ranks import deepspeed as engine

    monkeypatch.setattr(os, "environ", os.environ.copy())
    library = engine._import(torch.device("cpu"))
    config = merged(None, Steps(16, 1, 5.0, 1))
    for zero, said in (({"stagee": 1}, "stagee: "), ({"reduce_bucket_size": "big"}, "reduce_bucket_size: ")):
        with pytest.raises(UsageError, match=f"--ds_config: DeepSpeed refuses {said}"), engine._naming_keys(library):
            library.DeepSpeedConfig({**config, "zero_optimization": zero})
    with pytest.raises(UsageError, match="refuses it .*progressive_layer_drop"), engine._naming_keys(library):
        library.DeepSpeedConfig({**config, "progressive_layer_drop": {"enabled": True}})
