"""OpenVINO GenAI out of its Python packages, and the Python that has them (`tools/fetch.py peers`)."""

import json
import pathlib
import sys

from common import fetch, output_of

CACHE_GB = 4


def packages():
    """For PYTHONPATH; fetched if they are not there."""
    fetch.provide("peers", fetch.cache_folder())
    return {"PYTHONPATH": str(fetch.SETS["peers"]["python"].folder(fetch.cache_folder()))}


def workload(prompt, decode, users=1, is_shared=False):
    return {"prompt": prompt, "decode": decode, "users": users, "is_shared": is_shared}


def bench(model, kv, workloads, *, threads):
    """A (prefill, decode) in tokens/s for each workload; a decode of one token is None."""
    job = {"model": str(model), "threads": threads, "kv": kv, "cache_gb": CACHE_GB, "workloads": workloads}
    driver = pathlib.Path(__file__).with_name("openvino_run.py")
    text = output_of([sys.executable, driver, json.dumps(job)], packages())
    return [(found["prefill"], found["decode"]) for found in json.loads(text.strip().splitlines()[-1])]
