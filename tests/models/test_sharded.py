"""torch shards a converted model over two processes (fully_shard, gloo): bfloat16 weights, float32 scalers."""

import os
import socket
import subprocess
import sys
from pathlib import Path

_CHILD = """
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


def test_two_processes_share_the_weights_and_compute_what_one_does() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = str(Path(__file__).parent)
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    shared["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            env={**os.environ, **shared, "RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    # A policy that casts would round scalers in silence.
    assert all(text.startswith("scalers came as bfloat16") and text.endswith("without mp_policy).\n") for text in said)
