"""What bench/peers.py compares: runs, and the rows that set their figures beside each other.

The goals are those of docs/benchmarks.md, "Beside the peers".
"""

import json
import time

import llama_cpp
import models
import openvino_peer
import serve
import servers
from common import CABINET, SMOLLM2, Failed, cabinet_bench, output_of
from rounds import Goal, Ref, Row

SIXTEEN_TOKENS = "The lighthouse keeper wrote in his log every evening, even when nothing had happened."
DEEP = 7648  # with 512 tokens more, and one of output, all that SmolLM2's context of 8,192 holds in whole blocks


def prefill(tokens, depth=0):
    return f"prefill {tokens} at {depth}"


def decode(depth, users=1):
    return f"decode at {depth} x {users}"


def shared(depth, users):
    return f"decode after {depth} shared x {users}"


# ---- runs: name: what measures it, given threads and the round's number ----

RUNS = {}


def run(name):
    def add(measure):
        RUNS[name] = measure
        return name
    return add


def cabinet(model, kv, *, n_prefill=0, n_decode=0, depth=0, users=(1,)):
    """Prefill and decode by `cabinet bench`, each with its part of the limit."""
    name = f"Cabinet, {model}, {kv} KV, {n_prefill} + {n_decode} at {depth} x {','.join(map(str, users))}"

    @run(name)
    def measure(threads, _number):
        found = cabinet_bench(models.path(model), "-p", n_prefill, "-n", n_decode, "-d", depth, "-b", ",".join(map(str, users)),
                              "-r", 1, "--kv", kv, threads=threads)
        figures = {"machine": found["machine"]}
        for row in found["rows"]:
            figure = prefill(n_prefill, depth) if row["test"] == "prefill" else decode(depth, row["batch"])
            figures |= {figure: row["tokens_per_second"], figure + " of limit": row["fraction"]}
        return figures
    return name


def cabinet_shared(model, kv, *, prompt, n_decode, users):
    name = f"Cabinet, {model}, {kv} KV, {users} sharing {prompt} + {n_decode}"

    @run(name)
    def measure(threads, _number):
        found = cabinet_bench(models.path(model), "--shared-prompt", prompt, "--users", users, "-n", n_decode, "--sharers-only",
                              "-r", 1, "--kv", kv, threads=threads)
        sharers = found["rows"][0]
        step_ms = 1e3 * users / sharers["tokens_per_second"]
        least_ms = max(sharers["reading_ms_per_step"], sharers["arithmetic_ms_per_step"])
        figure = shared(prompt, users)
        return {figure: sharers["tokens_per_second"], figure + " of limit": least_ms / step_ms}
    return name


def cabinet_start():
    """From the start of the process to the first token after 16, the file in the page cache."""
    @run("Cabinet, start")
    def measure(threads, _number):
        command = [CABINET, "run", SMOLLM2, "--raw", "-p", SIXTEEN_TOKENS, "-n", 1, "--temp", 0, "--json", "--threads", threads]
        output_of(command)  # reads the file
        begun = time.monotonic()
        answer = json.loads(output_of(command))
        figures = {"start to first token, ms": 1e3 * (time.monotonic() - begun), "ttft, ms": answer["ttft_ms"]}
        if answer["prompt_tokens"] != 16:
            raise Failed(f"the prompt has {answer['prompt_tokens']} tokens instead of 16")
        return figures
    return "Cabinet, start"


def llama_kv(kv):
    """(KV type, whether flash attention is on) of "q8_0", or "f16 -fa off": for f16 either may be faster."""
    kind, _, flash = kv.partition(" -fa ")
    return {"kv": kind, "flash": flash or "on"}


def llama(model, kv, *, n_prefill=0, n_decode=0, depth=0):
    name = f"llama.cpp, {model}, KV {kv}, {n_prefill} + {n_decode} at {depth}"

    @run(name)
    def measure(threads, _number):
        speeds = llama_cpp.bench(models.path(model), prefill=n_prefill, decode=n_decode, depth=depth,
                                 threads=threads, **llama_kv(kv))
        figures = zip((prefill(n_prefill, depth), decode(depth)), speeds)
        return {figure: speed for figure, speed in figures if speed is not None}
    return name


def llama_users(model, kv, *, prompt, n_decode, users, is_shared=False, is_unified=False):
    name = (f"llama.cpp, {model}, KV {kv}, {'unified' if is_unified else 'per stream'}, {users} "
            f"{'sharing' if is_shared else 'of'} {prompt} + {n_decode}")

    @run(name)
    def measure(threads, _number):
        speed = llama_cpp.batched_bench(models.path(model), prompt=prompt, decode=n_decode, users=users, is_shared=is_shared,
                                        is_unified=is_unified, threads=threads, **llama_kv(kv))
        return {shared(prompt, users) if is_shared else decode(prompt, users): speed}
    return name


def openvino(model, kv, *workloads):
    """Workloads in one process, in that order: (prompt, decode, users, is_shared)."""
    name = f"OpenVINO, {model}, {kv} KV, " + "; ".join(
        f"{users} {'sharing' if is_shared else 'of'} {prompt} + {n_decode}" for prompt, n_decode, users, is_shared in workloads)

    @run(name)
    def measure(threads, _number):
        found = openvino_peer.bench(models.path(model), kv, [openvino_peer.workload(*each) for each in workloads],
                                    threads=threads)
        figures = {}
        for (prompt, _, users, is_shared), (prefilled, decoded) in zip(workloads, found):
            figures[shared(prompt, users) if is_shared else decode(prompt, users)] = decoded
            if users == 1 and not is_shared:
                figures[prefill(prompt)] = prefilled
        return figures
    return name


def server(name, program):
    @run(name)
    def measure(threads, number):
        return serve.measure_load(program(threads), number)
    return name


def llama_server(model, *options):
    return lambda threads: servers.llama("llama-server", llama_cpp.program("llama-server"), models.path(model), threads,
                                         [*serve.PEER_OPTIONS, *options])


# ---- rows ----

def of(figure, *runs):
    return tuple(Ref(name, figure) for name in runs)


def times(value, against, refs):
    return Goal("times", value, against, tuple(refs))


def rows_empty():
    """Empty context. OpenVINO decodes after a prompt of 16 tokens."""
    found = []
    ours, theirs = {}, {}
    for kind in ("Q4_1", "Q4_0", "Q8_0", "F16"):
        model = f"smollm2 {kind}"
        ours[kind] = cabinet(model, "f16", n_prefill=512, n_decode=128)
        theirs[kind] = [llama(model, "f16", n_prefill=512, n_decode=128)]
    vino = openvino("smollm2 Q4_1", "u8", (16, 128, 1, False), (512, 32, 1, False))
    vino_0 = openvino("smollm2 Q4_0", "u8", (16, 128, 1, False), (512, 32, 1, False))
    for kind, of_vino in (("Q4_1", vino), ("Q4_0", vino_0)):
        peers = of(decode(0), *theirs[kind]) + of(decode(16), of_vino)
        found.append(Row(f"decode-{kind}", f"decode, empty context, {kind}", Ref(ours[kind], decode(0)), peers,
                         (Goal("of limit", 0.80), times(1.3, "best peer of the type", peers))))
    for kind in ("Q8_0", "F16"):
        found.append(Row(f"decode-{kind}", f"decode, empty context, {kind}", Ref(ours[kind], decode(0)),
                         of(decode(0), *theirs[kind]), ()))
    llamas, vinos = of(prefill(512), *(each[0] for each in theirs.values())), of(prefill(512), vino, vino_0)
    with_kv = {"f16": ours["Q4_1"], "q8": cabinet("smollm2 Q4_1", "q8", n_prefill=512)}
    for kv, run_name in with_kv.items():
        found.append(Row(f"prefill-512-{kv}", f"prefill of 512 from empty, Q4_1, {kv} KV", Ref(run_name, prefill(512)), llamas + vinos,
                         (Goal("of limit", 0.60), times(1.5, "OpenVINO", vinos), times(3, "llama.cpp, best type", llamas))))
    return found


def rows_big():
    found = []
    for kind in ("Q4_0", "Q4_K"):
        model = f"big {kind}"
        peers = of(decode(0), llama(model, "f16", n_decode=24)) + of(decode(16), openvino(model, "u8", (16, 24, 1, False)))
        found.append(Row(f"decode-1.2B-{kind}", f"decode, 1.2B {kind}", Ref(cabinet(model, "f16", n_decode=24), decode(0)), peers,
                         (Goal("of limit", 0.85), times(1.0, "every peer", peers))))
    return found


def rows_deep():
    """Long contexts of one user."""
    found, model = [], "smollm2 Q4_1"
    vinos = [openvino(model, kv, (DEEP, 32, 1, False)) for kv in ("u8", "f16")]
    for kv, least in (("f16", 0.65), ("bf16", 1.2), ("q8", 1.6)):
        ours = cabinet(model, kv, n_prefill=DEEP)
        found.append(Row(f"prefill-{DEEP}-{kv}", f"prefill of {DEEP:,} from empty, {kv} KV", Ref(ours, prefill(DEEP)),
                         of(prefill(DEEP), *vinos), (Goal("of limit", 0.60), times(least, "OpenVINO", of(prefill(DEEP), *vinos)))))
    llamas = [llama("smollm2 Q4_0", kv, n_prefill=512, n_decode=32, depth=DEEP) for kv in ("f16", "f16 -fa off")]
    deep = {kv: cabinet(model, kv, n_prefill=512, n_decode=32, depth=DEEP) for kv in ("f16", "bf16", "q8", "q4")}
    for kv, least in (("f16", 2.5), ("bf16", 4), ("q8", 6)):
        refs = of(prefill(512, DEEP), *llamas)
        found.append(Row(f"prefill-512-deep-{kv}", f"prefill of 512 at depth {DEEP:,}, {kv} KV", Ref(deep[kv], prefill(512, DEEP)),
                         refs, (times(least, "llama.cpp's best", refs),)))
    peers = of(decode(DEEP), *llamas, *vinos)
    eight = of(decode(DEEP), llama("smollm2 Q4_0", "q8_0", n_decode=16, depth=DEEP), vinos[0])
    f16 = of(decode(DEEP), deep["f16"])
    goals = {"f16": (Goal("of limit", 0.85), times(2, "best peer", peers)),
             "q8": (Goal("of limit", 0.80), times(1.3, "our f16", f16), times(3.5, "best peer with 8-bit KV", eight)),
             "q4": (Goal("of limit", 0.70), times(1.6, "our f16", f16))}
    for kv, of_kv in goals.items():
        found.append(Row(f"decode-deep-{kv}", f"decode at depth {DEEP:,}, {kv} KV", Ref(deep[kv], decode(DEEP)),
                         eight if kv == "q8" else peers, of_kv))
    return found


def rows_users():
    found, model = [], "smollm2 Q4_1"
    vino = openvino(model, "u8", (512, 32, 16, False), (512, 32, 32, False))
    ours = cabinet(model, "q8", n_decode=64, depth=512, users=(16, 32))
    for users in (16, 32):
        llamas = [llama_users("smollm2 Q4_0", kv, prompt=512, n_decode=32, users=users) for kv in ("f16", "f16 -fa off", "q8_0")]
        peers = of(decode(512, users), *llamas, vino)
        found.append(Row(f"users-{users}", f"{users} users × 512 private tokens, decode, q8 KV", Ref(ours, decode(512, users)),
                         peers, (Goal("of limit", 0.45), times(3, "best peer, any KV", peers))))
    llamas = [llama_users("smollm2 Q4_0", kv, prompt=512, n_decode=32, users=32, is_shared=True, is_unified=is_unified)
              for is_unified in (False, True) for kv in ("f16 -fa off", "q8_0")]
    figure = shared(512, 32)
    sharing = cabinet_shared(model, "q8", prompt=512, n_decode=32, users=32)
    found.append(Row("sharing-512", "32 users sharing 512 tokens, q8 KV", Ref(sharing, figure), of(figure, *llamas),
                     (times(4, "llama.cpp", of(figure, *llamas)),)))
    figure = shared(2048, 32)
    llamas = [llama_users("smollm2 Q4_0", kv, prompt=2048, n_decode=128, users=32, is_shared=True, is_unified=is_unified)
              for is_unified in (False, True) for kv in ("f16 -fa off", "q8_0")]
    peers = of(figure, *llamas,
               openvino(model, "u8", (2048, 128, 32, True)))
    empty = cabinet(model, "q8", n_decode=64, users=(32,))
    sharing = cabinet_shared(model, "q8", prompt=2048, n_decode=128, users=32)
    found.append(Row("sharing-2048", "32 users sharing 2,048 tokens + 128 each, q8 KV", Ref(sharing, figure), peers,
                     (times(4, "best peer", peers), Goal("step", 2.2, "its step at empty context", of(decode(0, 32), empty)))))
    return found


def rows_gemma():
    model = "gemma3 Q4_K_M"
    # One process a depth: the same figure's name must mean one depth.
    near, far = (cabinet(model, "f16", n_decode=32, depth=depth) for depth in (1024, 16384))
    llamas = of(decode(16384), *(llama(model, kv, n_decode=32, depth=16384) for kv in ("f16", "f16 -fa off")))
    shallow = Goal("step", 1.5, "its step at 1,024", of(decode(1024), near))
    return [Row("gemma-16k", "gemma-3-270m, decode at 16,384", Ref(far, decode(16384)), llamas,
                (shallow, times(1.5, "llama.cpp", llamas)))]


def rows_server():
    ours = server("Cabinet, server", lambda threads: servers.cabinet(models.path("smollm2 Q4_1"), threads))
    # Q4_0 is faster than Q4_1: bench/serve.py has both, with f16 KV.
    theirs = [server(f"llama-server, smollm2 Q4_0{text}", llama_server("smollm2 Q4_0", *options))
              for text, options in ((", q8_0 KV", ("-ctk", "q8_0", "-ctv", "q8_0")), (", -fa off", ("-fa", "off")), ("", ()))]
    found = []
    for name, figure, least, is_time in (("server-requests", "requests/s", 3, False), ("server-ttft", "TTFT p95, ms", 1, True),
                                         ("server-itl", "ITL mean, ms", 1, True)):
        peers = of(figure, *theirs)
        found.append(Row(name, f"server, 64 requests at concurrency 16: {figure}", Ref(ours, figure), peers,
                         (times(least, "llama-server", peers),), is_time))
    return found


def rows_start():
    return [Row("start", "process start to first token, 16 tokens of prompt, ms", Ref(cabinet_start(), "start to first token, ms"),
                (), (Goal("at most", 500, "ms"),), True)]


ROWS = [*rows_empty(), *rows_big(), *rows_deep(), *rows_users(), *rows_gemma(), *rows_server(), *rows_start()]
