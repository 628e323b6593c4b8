"""ONNX Runtime on the rows of the bench: Attention (opset 23), com.microsoft GroupQueryAttention, MultiHeadAttention and LinearAttention,
each as a graph of one node, in fp32: its CPU kernels take no bf16.

Inputs stand in buffers bound once, so that a timed call copies nothing that a server would not copy either.
"""
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

import tensors
from peer_refused import Refused


class Graph:
    """One node with its attributes, and the arrays bound to its inputs and outputs in order; None leaves an input out."""

    def __init__(self, op, domain, opset, attributes, inputs, outputs, threads):
        names = [name if array is not None else "" for name, array in inputs]
        node = helper.make_node(op, names, [name for name, _ in outputs], domain=domain, **attributes)
        describe = lambda name, array: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        graph = helper.make_graph([node], op, [describe(*item) for item in inputs if item[1] is not None], [describe(*item) for item in outputs])
        opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Workers that spin on after a call would disturb whatever is timed next in this round.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.arrays = [array for _, array in inputs + outputs if array is not None]  # the binding holds addresses only
        self.binding = self.session.io_binding()
        bind = lambda method, name, array: method(name, "cpu", 0, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.ctypes.data)
        for name, array in inputs:
            if array is not None:
                bind(self.binding.bind_input, name, array)
        for name, array in outputs:
            bind(self.binding.bind_output, name, array)

    def run(self):
        self.session.run_with_iobinding(self.binding)


def heads_first(array):
    return numpy.ascontiguousarray(tensors.to_float32(array).transpose(0, 2, 1, 3))


def merged(array):
    """[batch, tokens, heads, channels] with the heads side by side: [batch, tokens, heads * channels]."""
    return numpy.ascontiguousarray(tensors.to_float32(array)).reshape(*array.shape[:2], -1)


def attention(row, inputs, threads):
    """The standard's own operator, 4-D inputs [batch, heads, tokens, channels]."""
    q, k, v = (heads_first(inputs.pop(role)) for role in ("q", "k", "v"))
    out = numpy.empty((*q.shape[:3], v.shape[3]), numpy.float32)
    # One query that sees all keys needs no mask, and the operator would align it to the first key.
    causal = int(row["causal"] and row["queries"] > 1)
    graph = Graph("Attention", "", 23, {"scale": row["scale"], "is_causal": causal}, [("q", q), ("k", k), ("v", v)], [("o", out)], threads)
    return graph.run, "Attention, opset 23", lambda: (graph.run(), out.transpose(0, 2, 1, 3))[1]


def group_query(row, inputs, threads):
    """GroupQueryAttention; in decode the cache holds all tokens but the last, and past and present share one buffer."""
    if not row["causal"]:
        raise Refused("GroupQueryAttention is always causal, this row is not")
    q, k, v = (tensors.to_float32(inputs.pop(role)) for role in ("q", "k", "v"))
    batch, keys, kv_heads, width = k.shape
    if v.shape[3] != width:
        raise Refused("GroupQueryAttention takes keys and values of one width")
    fresh = row["queries"]
    if row["family"] == "decode":
        cache_k, cache_v = (heads_first(x) for x in (k, v))
    else:
        cache_k, cache_v = (numpy.zeros((batch, kv_heads, keys, width), numpy.float32) for _ in range(2))
    new_k, new_v = (merged(x[:, keys - fresh:]) for x in (k, v))
    query, out = merged(q), numpy.empty((batch, fresh, q.shape[2] * width), numpy.float32)
    inputs = [("query", query), ("key", new_k), ("value", new_v), ("past_key", cache_k), ("past_value", cache_v),
              ("seqlens_k", numpy.full(batch, keys - 1, numpy.int32)), ("total", numpy.array(keys, numpy.int32))]
    outputs = [("o", out), ("present_key", cache_k), ("present_value", cache_v)]
    attributes = {"num_heads": q.shape[2], "kv_num_heads": kv_heads, "scale": row["scale"]}
    graph = Graph("GroupQueryAttention", "com.microsoft", 23, attributes, inputs, outputs, threads)
    return graph.run, "GroupQueryAttention", lambda: (graph.run(), out.reshape(batch, fresh, q.shape[2], width))[1]


def multi_head(row, inputs, threads):
    q, k, v = (inputs.pop(role) for role in ("q", "k", "v"))
    if q.shape[2] != k.shape[2]:
        raise Refused("MultiHeadAttention has as many key heads as query heads, this row fewer")
    if row["causal"] and row["queries"] > 1 and row["queries"] != row["keys"]:
        raise Refused("MultiHeadAttention aligns its causal mask to the first key")
    out = numpy.empty((*q.shape[:2], q.shape[2] * v.shape[3]), numpy.float32)
    attributes = {"num_heads": q.shape[2], "scale": row["scale"], "unidirectional": int(row["causal"] and row["queries"] > 1)}
    graph = Graph("MultiHeadAttention", "com.microsoft", 23, attributes, [("query", merged(q)), ("key", merged(k)), ("value", merged(v))], [("o", out)], threads)
    return graph.run, "MultiHeadAttention", lambda: (graph.run(), out.reshape(*q.shape[:3], -1))[1]


def linear_attention(row, inputs, threads):
    """The gated delta rule; the decay of a head is one number a token, in log space as in the row."""
    q, k, v, decay, beta = (tensors.to_float32(inputs.pop(role)) for role in ("q", "k", "v", "log_decay", "beta"))
    state = tensors.to_float32(inputs.pop("state_in"))
    heads = q.shape[2]
    out, state_out = numpy.empty((*v.shape[:2], heads * v.shape[3]), numpy.float32), numpy.empty_like(state)
    attributes = {"q_num_heads": heads, "kv_num_heads": k.shape[2], "scale": row["scale"], "update_rule": "gated_delta"}
    arguments = [("query", merged(q)), ("key", merged(k)), ("value", merged(v)), ("past", state), ("decay", decay), ("beta", beta)]
    graph = Graph("LinearAttention", "com.microsoft", 23, attributes, arguments, [("o", out), ("present", state_out)], threads)
    return graph.run, "LinearAttention, gated_delta", lambda: (graph.run(), out.reshape(v.shape))[1]


def matmul(row, inputs, threads):
    a, w = tensors.to_float32(inputs.pop("q")), numpy.ascontiguousarray(tensors.to_float32(inputs.pop("k")).T)
    out = numpy.empty((a.shape[0], w.shape[1]), numpy.float32)
    graph = Graph("MatMul", "", 23, {}, [("a", a), ("w", w)], [("o", out)], threads)
    return graph.run, "MatMul", lambda: (graph.run(), out)[1]


BUILDERS = {"onnxruntime_attention_fp32": attention, "onnxruntime_gqa_fp32": group_query, "onnxruntime_mha_fp32": multi_head,
            "onnxruntime_linearattention_fp32": linear_attention, "onnxruntime_matmul_fp32": matmul}


def prepare(name, row, inputs, threads):
    """(call to time, what it is, answer as a function to an array [batch, tokens, heads, channels])."""
    if name not in BUILDERS:
        raise Refused(f"ONNX Runtime has no operator behind '{name}'")
    call, what, answer = BUILDERS[name](row, inputs, threads)
    return call, f"ONNX Runtime {onnxruntime.__version__}: {what}, fp32", answer
