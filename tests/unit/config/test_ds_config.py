"""A user's DeepSpeed file merged with what ddarts says."""

import json

import pytest

from ddarts.config.ds_config import Steps, merged
from ddarts.runtime.errors import UsageError

STEPS = Steps(batch_size=32, accumulate=2, grad_clip=5.0, ranks=4)


def _file(tmp_path, content):
    path = tmp_path / "ds.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_a_file_stage_0_and_the_options():
    found = merged(None, STEPS)
    assert found["zero_optimization"] == {"stage": 0}
    assert (found["train_micro_batch_size_per_gpu"], found["gradient_accumulation_steps"]) == (16, 2)
    assert (found["train_batch_size"], found["gradient_clipping"]) == (128, 5.0)


def test_a_file_adds_what_ddarts_does_not_say(tmp_path):
    content = {
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 1000, "allgather_bucket_size": "auto"},
        "wall_clock_breakdown": True,
        "steps_per_print": 10,
        "gradient_clipping": 5,
        "train_batch_size": "auto",
        "bf16": {"enabled": False},
        "fp16": {"enabled": "auto"},
    }
    found = merged(_file(tmp_path, content), STEPS)
    assert found["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 1000}
    assert found["wall_clock_breakdown"] is True and found["steps_per_print"] == 10
    assert found["train_batch_size"] == 128 and "fp16" not in found


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"gradient_clipping": 1.0}, "gradient_clipping 1.0: --grad_clip 5 says 5"),
        ({"train_batch_size": 64}, "train_batch_size 64: --batch_size 32 on 4 ranks says 128"),
        ({"train_micro_batch_size_per_gpu": 8}, "train_micro_batch_size_per_gpu 8: "),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps 1: --accumulate 2 says 2"),
        ({"bf16": {"enabled": True}}, "bf16.enabled True: must be false: .*--precision"),
        ({"fp16": {"enabled": True}}, "fp16.enabled True"),
        ({"torch_autocast": {"enabled": True}}, "torch_autocast.enabled True"),
        ({"fp16": True}, "fp16 True: must be an object"),
        ({"zero_allow_untested_optimizer": False}, "zero_allow_untested_optimizer False: must be true"),
        ({"zero_optimisation": {"stage": 1}}, r"zero_optimisation: unknown; is zero_optimization meant\?"),
        ({"gradient_cliping": 1.0}, r"gradient_cliping: unknown; is gradient_clipping meant\?"),
        ({"optimizer": {"type": "Adam"}}, "optimizer: remove it"),
        ({"scheduler": {"type": "WarmupLR"}}, "scheduler: remove it"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage 3: stage 3 splits the weights"),
        ({"zero_optimization": {"stage": 7}}, "zero_optimization.stage 7: must be 0, 1 or 2"),
        ({"zero_optimization": {"stage": True}}, "zero_optimization.stage True"),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "zero_optimization.offload_optimizer"),
        ({"zero_optimization": 2}, "zero_optimization: must be an object"),
        ([1], "must hold one JSON object"),
        ("{\n 'x': 1}", r"is not a JSON file \(line 2\)"),
        ("[" * 100_000, "is not a JSON file|must hold"),
    ],
)
def test_contradictions_name_file_and_key(tmp_path, content, named):
    path = _file(tmp_path, content)
    with pytest.raises(UsageError, match=f"^--ds_config {path}: {named}"):
        merged(path, STEPS)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        merged(tmp_path / "none.json", STEPS)
