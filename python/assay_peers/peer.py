#!/usr/bin/env python3
"""One peer of `assay bench --peers`: another project's kernels, timed inside this process and asked for over a pipe.

Reads one JSON request a line on stdin and answers each with one JSON line. Tensors travel as files of raw bytes in the folder that the
request names, which only its owner can read.

    {"do": "prepare", "peer": NAME, "row": {...}, "folder": DIR, "threads": N}   builds the call, runs it once, writes DIR/answer (fp32)
        -> {"ok": true, "implementation": "..."}
    {"do": "time", "calls": N}   -> {"ok": true, "seconds": per call}

A request that cannot be served is answered {"ok": false, "reason": "..."}: the caller shows the reason where the time would stand.
"""
import json
import os
import sys
import time

from peer_refused import Refused

# Whatever a library prints must not land among the answers.
answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
os.dup2(2, 1)

# A call shorter than this is run once untimed first: the caller's own kernels had these caches since the last request.
WARM_UP_BELOW_S = 0.1



def load(name):
    """The module that serves a peer, imported only when asked for: each takes seconds and hundreds of megabytes."""
    family = name.split("_", 1)[0]
    if family == "pytorch":
        import torch_peers
        return torch_peers
    if family == "onnxruntime":
        import ort_peers
        return ort_peers
    raise Refused(f"no peer named '{name}'")


class Server:
    def __init__(self):
        self.call = None
        self.last_s = 0.0

    def prepare(self, request):
        import tensors
        module = load(request["peer"])
        inputs = tensors.read_all(request["folder"], request["row"]["tensors"])
        self.call, implementation, answer = module.prepare(request["peer"], request["row"], inputs, request["threads"])
        del inputs
        tensors.write(request["folder"], "answer", answer())
        return {"implementation": implementation}

    def time(self, request):
        if self.call is None:
            raise Refused("nothing was prepared")
        call, calls = self.call, int(request["calls"])
        if self.last_s < WARM_UP_BELOW_S:
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        self.last_s = (time.perf_counter() - start) / calls
        # The libraries' threads spin for a moment after a call; answering later keeps them out of what is timed next.
        time.sleep(0.01)
        return {"seconds": self.last_s}


def main():
    server = Server()
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = {"ok": True, **{"prepare": server.prepare, "time": server.time}[request["do"]](request)}
        except Refused as refused:
            answer = {"ok": False, "reason": str(refused)}
        except Exception as error:  # the libraries raise anything; all of it is a reason
            text = " ".join(str(error).split())
            answer = {"ok": False, "reason": f"{type(error).__name__}: {text[:300]}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
