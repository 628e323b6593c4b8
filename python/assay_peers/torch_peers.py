"""PyTorch on the rows of the bench: scaled_dot_product_attention, the gated delta rule chunked and stepwise, and matmul.

Everything that a model would do once (layout, dtype, the query group folded into rows) is done before the timed call.
"""
import time

import numpy
import torch
import torch.nn.functional as F

from peer_refused import Refused


def to_torch(array, dtype):
    """Takes bf16 bits or fp32 values to a torch tensor of `dtype`."""
    if array.dtype == numpy.uint16:
        return torch.from_numpy(array.view(numpy.int16)).view(torch.bfloat16).to(dtype)
    return torch.from_numpy(array).to(dtype)


def heads_first(array, dtype):
    """[batch, tokens, heads, channels] to a contiguous [batch, heads, tokens, channels]."""
    return to_torch(array, dtype).transpose(1, 2).contiguous()


def fastest(variants):
    """(name, call) of the variant whose second call was the quickest: a peer is shown at its best."""
    best = None
    for name, call in variants:
        call()
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        if best is None or seconds < best[0]:
            best = (seconds, name, call)
    return best[1], best[2]


def attention(row, inputs, dtype):
    scale, causal = row["scale"], row["causal"]
    q, k, v = (heads_first(inputs.pop(role), dtype) for role in ("q", "k", "v"))
    batch, heads, queries, _ = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    if row["family"] == "decode":
        # One query token sees every key, so the heads of a group are rows of one matrix: K and V are read once a group.
        folded = q.reshape(batch, kv_heads, heads // kv_heads * queries, -1)
        call = lambda: F.scaled_dot_product_attention(folded, k, v, scale=scale)
        return "SDPA, query group folded into rows", call, lambda: call().reshape(batch, heads, queries, -1).transpose(1, 2)
    if causal and queries != keys:
        raise Refused("SDPA aligns its causal mask to the first key where queries and keys differ in number")
    if heads == kv_heads:
        call = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        return "SDPA", call, lambda: call().transpose(1, 2)
    wide_k, wide_v = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
    name, call = fastest([
        ("SDPA, enable_gqa", lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)),
        ("SDPA, K and V repeated for each query head", lambda: F.scaled_dot_product_attention(q, wide_k, wide_v, is_causal=causal, scale=scale)),
    ])
    return name, call, lambda: call().transpose(1, 2)


def matmul(inputs, dtype):
    a, w = (to_torch(inputs.pop(role), dtype) for role in ("q", "k"))
    call = lambda: F.linear(a, w)
    return "linear", call, call


def delta_inputs(inputs, dtype, scale):
    q, k, v = (heads_first(inputs.pop(role), dtype) for role in ("q", "k", "v"))
    decay, beta = (heads_first(inputs.pop(role)[..., None], torch.float32).squeeze(-1) for role in ("log_decay", "beta"))
    return q * scale, k, v, decay, beta, to_torch(inputs.pop("state_in"), torch.float32)


def gated_delta_chunks(q, k, v, decay, beta, state, chunk=64):
    """Gated DeltaNet (arXiv 2412.06464, section 3.3) by chunks in the WY form; the state stays fp32, the products in the type of q."""
    batch, heads, tokens, _ = q.shape
    dtype = q.dtype
    split = lambda x: x.reshape(batch, heads, tokens // chunk, chunk, *x.shape[3:])
    q, k, v, decay, beta = map(split, (q, k, v, decay, beta))
    total = decay.cumsum(-1)
    # exp only of what is at most zero: the difference of later and earlier positions, upper half left out.
    within = (total[..., :, None] - total[..., None, :]).tril().exp().tril()
    kb = k * beta[..., None].to(dtype)
    lower = ((kb @ k.transpose(-1, -2)).float() * within).tril(-1)
    eye = torch.eye(chunk).expand_as(lower)
    inverse = torch.linalg.solve_triangular(lower + eye, eye, upper=False, unitriangular=True).to(dtype)
    u = inverse @ (v * beta[..., None].to(dtype))
    w = inverse @ (kb * total.exp()[..., None].to(dtype))
    scores = ((q @ k.transpose(-1, -2)).float() * within).to(dtype)
    q_decayed = q * total.exp()[..., None].to(dtype)
    k_decayed = (k * (total[..., -1:] - total).exp()[..., None].to(dtype)).transpose(-1, -2)
    last = total[..., -1].exp()[..., None, None]
    outputs = torch.empty_like(v)
    for c in range(tokens // chunk):
        low = state.to(dtype)
        fresh = u[:, :, c] - w[:, :, c] @ low
        outputs[:, :, c] = q_decayed[:, :, c] @ low + scores[:, :, c] @ fresh
        state = state * last[:, :, c] + (k_decayed[:, :, c] @ fresh).float()
    return outputs.reshape(batch, heads, tokens, -1), state


def gated_delta_step(q, k, v, decay, beta, state):
    """One token for every sequence and head, as a call that writes its states into one buffer, as a server would."""
    batch, heads, _, width = q.shape
    q, k, v = (x.float().reshape(batch * heads, 1, -1) for x in (q, k, v))
    decay, beta = (x.reshape(batch * heads, 1, 1) for x in (decay, beta))
    state = state.reshape(batch * heads, width, -1)
    fresh_state = torch.empty_like(state)

    def call():
        torch.mul(state, decay.exp(), out=fresh_state)
        fresh = (v - torch.bmm(k, fresh_state)) * beta
        fresh_state.baddbmm_(k.transpose(1, 2), fresh)
        return torch.bmm(q, fresh_state).reshape(batch, heads, 1, -1), fresh_state

    return call


def prepare(name, row, inputs, threads):
    """(call to time, what it is, answer as a function to an array [batch, tokens, heads, channels])."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[name.rsplit("_", 1)[1]]
    version = f"PyTorch {torch.__version__}"
    if row["family"] in ("prefill", "decode"):
        what, call, answer = attention(row, inputs, dtype)
    elif row["family"] == "matmul":
        what, call, answer = matmul(inputs, dtype)
    else:
        arguments = delta_inputs(inputs, dtype, row["scale"])
        chunked = row["queries"] > 1
        if chunked and row["queries"] % 64:
            raise Refused("the chunked form here takes whole chunks of 64 tokens")
        what = "gated delta rule, chunks of 64, state in fp32" if chunked else "gated delta rule, one step, state in fp32"
        call = (lambda: gated_delta_chunks(*arguments)) if chunked else gated_delta_step(*arguments)
        answer = lambda: call()[0].transpose(1, 2)
    return call, f"{version}: {what}, {name.rsplit('_', 1)[1]}", lambda: answer().float().contiguous().numpy()
