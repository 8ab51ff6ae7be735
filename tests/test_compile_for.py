"""Programs for accelerators that are not here: what is read from them, and that it is as it should.

The compilers of TPUs and GPUs come with libtpu and jax[cuda13]; what needs one is skipped without.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spotting.base.errors import InputError
from spotting.benchmarks import programs, targets
from spotting.benchmarks.programs import Collective, Loop

ROOT = Path(__file__).parents[1]
SMALL = (
    "--dtype=bfloat16",
    "--halves=2",
    "--config.anchors.chunk=16.0",
    "--config.model.reduction=(32,16)",
    "--config.training.batch_size=16",
    "--config.training.chunks_per_epoch=128",
)
TRUNKS = {
    "unet_resnet_pca": ("--config.model.unet.levels=2",),
    "best_resnet_pca": ("--config.model.unet.levels=2",),  # averages and augments
    "te_small_resnet_pca": (
        "--config.model.transformer.layers=1",
        "--config.model.transformer.width=32",
        "--config.model.transformer.num_heads=2",
        "--config.model.transformer.mlp_dim=64",
    ),
}

TEXT = """HloModule jit_epoch, is_scheduled=true

%rows (split: bf16[1000,8], at: s32[4,2]) -> bf16[4,2,8] {
  %split = bf16[1000,8]{1,0} parameter(0)
  %at = s32[4,2]{1,0} parameter(1)
  ROOT %gather.1 = bf16[4,2,8]{2,1,0} gather(%split, %at), offset_dims={2}
}

%inner (count: s32[]) -> s32[] {
  %count = s32[] parameter(0)
  ROOT %add.1 = s32[] add(%count, %count), backend_config={"estimated_cycles":"10"}
}

%inner_condition (count.1: s32[]) -> pred[] {
  %count.1 = s32[] parameter(0)
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%count.1, %three), direction=LT
}

%body (state: (s32[], bf16[1000,8])) -> (s32[], bf16[1000,8]) {
  %state = (s32[], /*index=1*/bf16[1000,8]{1,0}) parameter(0)
  %number = s32[] get-tuple-element(%state), index=0
  %all = bf16[1000,8]{1,0} get-tuple-element(%state), index=1
  %where = s32[4,2]{1,0:T(8,128)S(1)} custom-call(), custom_call_target="rows"
  %cut = bf16[4,2,8]{2,1,0} fusion(%all, %where), calls=%rows, metadata={"estimated_cycles":"100"}
  %summed = (f32[8]{0}, f32[2,8]{1,0}) all-reduce(%cut, %cut), channel_id=1, to_apply=%inner
  %again = s32[] while(%number), condition=%inner_condition, body=%inner, op_name="again"
  ROOT %next = (s32[], bf16[1000,8]{1,0}) tuple(%again, %all)
}

%condition (state.1: (s32[], bf16[1000,8])) -> pred[] {
  %state.1 = (s32[], bf16[1000,8]{1,0}) parameter(0)
  ROOT %unknown = pred[] custom-call(%state.1), custom_call_target="x"
}

ENTRY %main (first: (s32[], bf16[1000,8])) -> (s32[], bf16[1000,8]) {
  %first = (s32[], bf16[1000,8]{1,0}) parameter(0)
  %before = s32[4]{0} all-gather(%first), dimensions={0}
  ROOT %scan = (s32[], bf16[1000,8]{1,0}) while(%first), condition=%condition, body=%body
}
"""


PARTS = """HloModule jit_update, is_scheduled=true

%part (moments: f32[1000], rates: f32[1000], one: f32[8]) -> f32[8] {
  %moments = f32[1000]{0} parameter(0)
  %rates = f32[1000]{0} parameter(1)
  %one = f32[8]{0} parameter(2)
  %product = f32[1000]{0} multiply(%moments, %rates)
  %roots = f32[1000]{0} sqrt(%product)
  %slice.1 = f32[8]{0} slice(%roots), slice={[8:16]}
  %added = f32[8]{0} add(%slice.1, %one)
  %norm = f32[] custom-call(%rates), custom_call_target="norm"
  ROOT %both = (f32[8]{0}, f32[]) tuple(%added, %norm)
}

ENTRY %main (a: f32[1000], b: f32[1000], c: f32[8]) -> (f32[8], f32[]) {
  %a = f32[1000]{0} parameter(0)
  %b = f32[1000]{0} parameter(1)
  %c = f32[8]{0} parameter(2)
  ROOT %fused = (f32[8]{0}, f32[]) fusion(%a, %b, %c), kind=kLoop, calls=%part
}
"""


@dataclasses.dataclass
class Text:
    """In the place of a compiled program."""

    text: str = TEXT

    def as_text(self):
        return self.text

    def memory_analysis(self):
        return type(
            "Memory",
            (),
            {
                "argument_size_in_bytes": 100,
                "temp_size_in_bytes": 20,
                "output_size_in_bytes": 50,
                "alias_size_in_bytes": 46,
            },
        )


def test_what_a_step_does_is_read_from_the_program():
    found = programs.inspect(Text(), steps=5)
    assert (found.peak_bytes, found.donated_bytes, found.kept_bytes) == (124, 46, 4)
    assert found.collectives == (Collective("all-reduce", "f32", 1, 4 * (8 + 16)),)
    assert found.loops == (Loop("again", 3),)
    assert found.other_collectives == (Collective("all-gather", "s32", 1, 16),)
    # What makes the rows' indices, the cut, the sum, and three additions.
    assert found.kernels == 6
    assert found.cycles == 100 + 3 * 10
    # The indices stay beside the units; of the split, the rows that are cut; 64 values of bfloat16.
    moved = {"cut": 128 + 128, "sum": 2 * 128 + 96, "additions": 3 * 12}
    assert found.moved_bytes == sum(moved.values())


def test_of_what_is_computed_elementwise_a_part_reads_a_part():
    """The moments are read where the slice is, the rates everywhere."""
    assert programs.inspect(Text(PARTS)).moved_bytes == 4 * (8 + 1000 + 8) + 4 * (8 + 1)


def test_a_program_without_a_scan_is_one_step():
    found = programs.inspect(Text())
    assert found.other_collectives == ()
    assert {each.kind for each in found.collectives} == {"all-gather", "all-reduce"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu-v9:2x2", "no device of that name; say tpu-v5e:4x4"),
        ("h100", "no device of that name"),
        ("tpu-v5e:2x2", "pip install libtpu"),
        ("h100:1x1x8", "pip install 'jax"),
    ],
)
def test_a_target_that_cannot_be(monkeypatch, name, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=message.replace("[", r"\[")) as error:
        targets.find_target(name)
    assert len(str(error.value).splitlines()) == 1


def compile_small(config, target, folder, *more):
    """The one program of a small network's training with SAM and mixup."""
    file = folder / "compiled.json"
    command = [sys.executable, "-m", "spotting.benchmark", f"--config={config}", *TRUNKS[config]]
    options = [f"--compile-for={target}", "--programs=SAM+mixup", f"--json={file}", *more]
    subprocess.run(
        [*command, *SMALL, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=600,
    )
    ((row,),) = [json.loads(file.read_text())["rows"]]
    (program,) = row["programs"]
    return row, program["compiled"]


@pytest.mark.slow
@pytest.mark.parametrize("config", TRUNKS)
def test_an_epoch_on_four_tpus(config, tmp_path):
    pytest.importorskip("libtpu")
    row, compiled = compile_small(config, "tpu-v5e:2x2", tmp_path)
    assert (row["devices"], row["seeds_at_once"], compiled["steps"]) == (4, 1, 8)
    # Donation is complete: all that is kept beside are the metrics.
    assert compiled["kept_bytes"] < 8192
    # Gradients are summed in float32, once in each of SAM's passes; nothing else passes between
    # devices, and nothing but the scan is a loop.
    reduced = {(each["kind"], each["dtype"]) for each in compiled["collectives"]}
    assert reduced == {("all-reduce", "f32")}
    assert compiled["collectives"][0]["count"] == 2
    assert compiled["loops"] == []
    assert compiled["other_collectives"] == []


@pytest.mark.slow
def test_seeds_on_devices_of_their_own_exchange_nothing(tmp_path):
    pytest.importorskip("libtpu")
    more = ("--seeds=4", "--config.devices.min_chunks=16")
    row, compiled = compile_small("unet_resnet_pca", "tpu-v5e:2x2", tmp_path, *more)
    assert row["devices"] == 4
    assert compiled["kept_bytes"] < 8192
    assert (compiled["collectives"], compiled["other_collectives"]) == ([], [])
