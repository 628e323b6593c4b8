#!/usr/bin/env python3
"""Writes the cases beside it: small vectors of our own, so that a plain clone tests conventions against something outside the program.

Each mechanism is written down here a second time, from its formula, in plain floating-point Python that shares no line with the
references. The format is docs/conformance_format.md; inputs lie on a grid of 1/64, exact in every element type.
"""
import itertools
import math
import pathlib
import random

HERE = pathlib.Path(__file__).parent


class Tensor:
    def __init__(self, shape, at):
        self.shape = shape
        self.values = {index: at(*index) for index in itertools.product(*map(range, shape))}

    def __getitem__(self, index):
        return self.values[index]


def draw(rng, shape, scale=1.0):
    return Tensor(shape, lambda *_: round(64 * scale * rng.gauss(0, 1)) / 64)


def write(name, op, attributes, inputs, outputs):
    lines = [f"op {op} opset 0"] + [f"a {key} {kind} {value}" for key, kind, value in attributes]
    for side, tensors in (("in", inputs), ("out", outputs)):
        for i, (tensor_name, dtype, tensor) in enumerate(tensors):
            lines.append(f"t {side} {i} {tensor_name} {dtype} {len(tensor.shape)} {' '.join(map(str, tensor.shape))}")
            lines.append(" ".join(repr(value) for value in tensor.values.values()))
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def softmax_rows(q, k, v, scale, visible, sinks=None):
    """[B, T, H, Dv]; query head h reads key head floor(h Hkv / H); a sink enters the denominator alone."""
    batch, heads, tokens, width = q.shape
    group = heads // k.shape[1]

    def at(b, t, h, c):
        keys = [j for j in range(k.shape[2]) if visible(t, j)]
        scores = [scale * math.fsum(q[b, h, t, i] * k[b, h // group, j, i] for i in range(width)) for j in keys]
        top = max(scores + ([sinks[h,]] if sinks else []))
        weights = [math.exp(score - top) for score in scores]
        total = math.fsum(weights) + (math.exp(sinks[h,] - top) if sinks else 0)
        return math.fsum(w * v[b, h // group, j, c] for w, j in zip(weights, keys)) / total

    return Tensor((batch, tokens, heads, v.shape[3]), at)


def softmax_case(rng, name, op, past, window, with_sinks):
    batch, heads, kv_heads, tokens, width = 1, 4, 2, 6, 8
    q = draw(rng, (batch, heads, tokens, width), 2)
    k, v = (draw(rng, (batch, kv_heads, past + tokens, width), 2) for _ in range(2))
    sinks = draw(rng, (heads,)) if with_sinks else None
    scale = 0.25
    out = softmax_rows(q, k, v, scale, lambda t, j: j <= t + past and (window == 0 or j > t + past - window), sinks)
    attributes = [("q_num_heads", "int", heads), ("kv_num_heads", "int", kv_heads), ("scale", "float", scale), ("n_past", "int", past), ("window", "int", window)]
    inputs = [("query", "float32", q), ("key", "float32", k), ("value", "float32", v)] + ([("sinks", "float32", sinks)] if sinks else [])
    write(name, op, attributes, inputs, [("output", "float64", out)])


def gated_delta_case(rng, name):
    """S = e^g S; S += beta k (v - S^T k)^T; o = scale S^T q; value head h reads key head floor(h Hk / H)."""
    batch, tokens, key_heads, heads, width, v_width, scale = 1, 7, 1, 2, 8, 6, 0.25
    q, k = (draw(rng, (batch, tokens, key_heads, width), 0.3) for _ in range(2))
    v = draw(rng, (batch, tokens, heads, v_width))
    g = Tensor((batch, tokens, heads), lambda *_: -rng.randrange(64) / 64)
    beta = Tensor((batch, tokens, heads), lambda *_: rng.randrange(1, 64) / 64)
    initial = draw(rng, (batch, heads, width, v_width))
    out, final = {}, {}
    for h in range(heads):
        state = [[initial[0, h, i, c] for c in range(v_width)] for i in range(width)]
        for t in range(tokens):
            key = [k[0, t, h * key_heads // heads, i] for i in range(width)]
            state = [[math.exp(g[0, t, h]) * x for x in row] for row in state]
            for c in range(v_width):
                error = v[0, t, h, c] - math.fsum(state[i][c] * key[i] for i in range(width))
                for i in range(width):
                    state[i][c] += beta[0, t, h] * key[i] * error
                out[t, h, c] = scale * math.fsum(state[i][c] * q[0, t, h * key_heads // heads, i] for i in range(width))
        final[h] = state
    write(name, "GatedDeltaRule",
          [("form", "str", "recurrent"), ("num_k_heads", "int", key_heads), ("num_v_heads", "int", heads), ("qk_l2norm", "int", 0), ("scale", "float", scale)],
          [("query", "float32", q), ("key", "float32", k), ("value", "float32", v), ("g", "float32", g), ("beta", "float32", beta), ("initial_state", "float32", initial)],
          [("output", "float64", Tensor((batch, tokens, heads, v_width), lambda b, t, h, c: out[t, h, c])),
           ("final_state", "float64", Tensor(initial.shape, lambda b, h, i, c: final[h][i][c]))])


if __name__ == "__main__":
    source = random.Random(20260222)
    softmax_case(source, "sink_past3", "SinkAttention", past=3, window=0, with_sinks=True)
    softmax_case(source, "window4", "SlidingWindowAttention", past=0, window=4, with_sinks=False)
    gated_delta_case(source, "gated_delta_rule")
