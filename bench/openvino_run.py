#!/usr/bin/env python3
"""Runs inside OpenVINO GenAI's Python packages (bench/openvino.py finds them): one pipeline, several workloads.

    openvino_run.py JOB

JOB: {"model", "threads", "kv" (u8, f16), "cache_gb", "workloads": [{"prompt", "users", "decode", "is_shared"}]}, and so is the
answer: a list of {"prefill", "decode"}, tokens/s of all users together. Prompts are random tokens. A workload's prefill ends
when every user has a first token; decode is what comes after that.
"""

import json
import sys
import time

import numpy
import openvino
import openvino_genai

SEED, LEAST_TOKEN, MOST_TOKEN = 1, 100, 40000
WARM_UP = {"prompt": 64, "users": 1, "decode": 16, "is_shared": False}


def open_pipeline(job):
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = job["cache_gb"]
    scheduler.max_num_batched_tokens = 2048  # faster here than the 256 of its defaults, for prompts and for users alike
    scheduler.max_num_seqs = 64
    scheduler.enable_prefix_caching = any(workload["is_shared"] for workload in job["workloads"])
    properties = {"INFERENCE_NUM_THREADS": job["threads"], "KV_CACHE_PRECISION": job["kv"]}
    return openvino_genai.ContinuousBatchingPipeline(job["model"], scheduler, "CPU", properties)


class Workloads:
    def __init__(self, pipeline):
        self.pipeline, self.rng, self.n_requests = pipeline, numpy.random.default_rng(SEED), 0

    def prompt(self, n_tokens):
        return self.rng.integers(LEAST_TOKEN, MOST_TOKEN, n_tokens, dtype=numpy.int64).reshape(1, -1)

    def submit(self, prompt, n_tokens):
        config = openvino_genai.GenerationConfig(max_new_tokens=n_tokens, ignore_eos=True, do_sample=False)
        self.n_requests += 1
        return self.pipeline.add_request(self.n_requests, openvino.Tensor(prompt), config)

    def run(self, workload):
        n_users = workload["users"]
        prompts = [self.prompt(workload["prompt"])] * n_users if workload["is_shared"] else [
            self.prompt(workload["prompt"]) for _ in range(n_users)]
        if workload["is_shared"]:  # computed once, before the users come
            self.finish([self.submit(prompts[0], 1)])
        return self.finish([self.submit(prompt, workload["decode"]) for prompt in prompts], workload)

    def finish(self, handles, workload=None):
        begun, first, n_at_first, n_tokens = time.perf_counter(), None, 0, [0] * len(handles)
        while self.pipeline.has_non_finished_requests():
            self.pipeline.step()
            for i, handle in enumerate(handles):
                while handle.can_read():
                    n_tokens[i] += sum(len(output.generated_ids) for output in handle.read().values())
            if first is None and all(n_tokens):
                first, n_at_first = time.perf_counter(), sum(n_tokens)
        end = time.perf_counter()
        if workload is None:
            return None
        if set(n_tokens) != {workload["decode"]}:
            sys.exit(f"users got {sorted(set(n_tokens))} tokens instead of {workload['decode']}")
        n_decoded = sum(n_tokens) - n_at_first
        return {"prefill": workload["prompt"] * len(handles) / (first - begun),
                "decode": n_decoded / (end - first) if n_decoded else None}


def main():
    job = json.loads(sys.argv[1])
    workloads = Workloads(open_pipeline(job))
    workloads.run(WARM_UP)
    print(json.dumps([workloads.run(workload) for workload in job["workloads"]]))


if __name__ == "__main__":
    main()
