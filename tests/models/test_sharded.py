"""A converted model sharded over two processes (FSDP2, gloo), by torch and by accelerate; scalers stay in float32."""

import socket
from pathlib import Path

import pytest
from warm import ended, start

_TORCH = """
import sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from model_cases import converted, logits, tokens
from gaincell import InputError
from gaincell.models import scalers_of

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, mesh = dist.get_rank(), init_device_mesh("cpu", (2,))
rows = tokens(2, 30)


def loss(model, row):
    model(input_ids=rows[row : row + 1], labels=rows[row : row + 1], use_cache=False).loss.backward()


def sharded(model, **how):
    for scalers in scalers_of(model).values():
        fully_shard(scalers, mesh=mesh, **how)
    for module in (*model.model.layers, model):
        fully_shard(module, mesh=mesh)
    return model


whole = converted("llama", torch.bfloat16).train()
for row in (0, 1):
    loss(whole, row)
model = sharded(converted("llama", torch.bfloat16).train())
loss(model, rank)  # a row a process, and the mean of both
for (name, p), (_, q) in zip(whole.named_parameters(), model.named_parameters(), strict=True):
    assert (p.dtype == torch.float32) == (".gaincell." in name), name
    assert q.dtype == p.dtype and q.to_local().shape[0] * 2 <= p.shape[0] + 1, name
    found, expected = q.grad.full_tensor(), p.grad / 2
    exact = p.dtype == torch.float32
    assert (found - expected).norm() <= (1e-4 if exact else 0.02) * expected.norm(), (name, found, expected)
    assert expected.norm() > 0, name
whole.eval(), model.eval()
how = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
assert torch.equal(logits(model, rows), logits(whole, rows))
assert torch.equal(model.generate(rows, **how), whole.generate(rows, **how))

rounded = sharded(converted("llama", torch.float32), mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
try:
    logits(rounded, rows)
except InputError as error:
    print(error)
dist.destroy_process_group()
"""

# accelerate keeps FSDP for GPUs; what it shards a model with computes on any device.
_ACCELERATE = """
import sys
import torch
import torch.distributed as dist
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch.distributed.fsdp import FSDPModule, fully_shard
from model_cases import converted, logits, tokens
from gaincell import InputError
from gaincell.models import scalers_of

torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
rank, rows = dist.get_rank(), tokens(2, 30)


def plugin(**how):
    return FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap", **how)


def sharded(model):
    model = fsdp2_prepare_model(accelerator, model)
    layers, scalers = model.model.layers, scalers_of(model)
    assert len(layers) == len(scalers) and all(isinstance(part, FSDPModule) for part in (*layers, *scalers.values()))
    return model


def rounded(model):
    for name, p in model.named_parameters():
        if ".gaincell." not in name:
            p.data = p.data.bfloat16()
    return model


accelerator.state.fsdp_plugin = plugin()
whole = rounded(converted("llama", torch.float32))
model = sharded(rounded(converted("llama", torch.float32)))
assert torch.equal(logits(model, rows), logits(whole, rows))
model.train()(input_ids=rows[rank : rank + 1], labels=rows[rank : rank + 1], use_cache=False).loss.backward()
for row in (0, 1):
    whole.train()(input_ids=rows[row : row + 1], labels=rows[row : row + 1], use_cache=False).loss.backward()
for (name, p), (_, q) in zip(whole.named_parameters(), model.named_parameters(), strict=True):
    assert q.dtype == (torch.float32 if ".gaincell." in name else torch.bfloat16), name
    if q.dtype == torch.float32:
        assert (q.grad.full_tensor() - p.grad / 2).norm() <= 1e-4 * p.grad.norm() / 2 > 0, name

# Weights in float32 are cast where they compute; scalers that were sharded before are not.
accelerator.state._mixed_precision = "bf16"
accelerator.state.fsdp_plugin = plugin(transformer_cls_names_to_wrap=["LlamaDecoderLayer"])
accelerator.state.fsdp_plugin.set_mixed_precision("bf16")
model = converted("llama", torch.float32)
for scalers in scalers_of(model).values():
    fully_shard(scalers)
model = sharded(model)
assert {p.dtype for p in model.parameters()} == {torch.float32}
assert torch.equal(logits(model, rows), logits(whole.eval(), rows))

accelerator.state.fsdp_plugin = plugin()
accelerator.state.fsdp_plugin.set_mixed_precision("bf16")
try:
    logits(sharded(converted("llama", torch.float32)), rows)
except InputError as error:
    print(error)
dist.destroy_process_group()
"""


@pytest.mark.parametrize("child", [_TORCH, _ACCELERATE], ids=["torch", "accelerate"])
def test_two_processes_share_the_weights_and_compute_what_one_does(child: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        start(child, environment={**shared, "RANK": rank, "LOCAL_RANK": rank}, stdout=tmp_path / rank) for rank in "01"
    ]
    try:
        assert [ended(process, 300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    said = [(tmp_path / rank).read_text("utf-8") for rank in "01"]
    # A policy that casts would round scalers in silence.
    assert all(text.startswith("scalers came as bfloat16") and text.endswith(" mixed precision).\n") for text in said)
