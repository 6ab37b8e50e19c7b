"""The two servers, each started on a port of its own when it is measured, and stopped by its id."""

import contextlib
import http.client
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
from typing import NamedTuple

import load
from common import CABINET, ENVIRONMENT

START_SECONDS = 60


class Program(NamedTuple):
    name: str
    command: list  # without the port


def cabinet(model, threads, options=()):
    return Program("Cabinet", [CABINET, "serve", model, "--threads", threads, *options])


def llama(name, program, model, threads, options):
    return Program(name, [program, "-m", model, "-t", threads, *options])


def free_port():
    with socket.socket() as bound:
        bound.bind((load.HOST, 0))
        return bound.getsockname()[1]


def get(port, path):
    """(status, text); status 0: nobody listens."""
    connection = http.client.HTTPConnection(load.HOST, port, timeout=START_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (ConnectionError, TimeoutError):
        return 0, ""
    finally:
        connection.close()


def step_seconds(port):
    """Of Cabinet's steps so far: seconds by part."""
    text = get(port, "/metrics")[1]
    found = re.findall(r'^cabinet_step_seconds_sum\{.*part="(\w+)".*\} (\S+)$', text, re.M)
    return {part: float(seconds) for part, seconds in found}


class Running(NamedTuple):
    port: int
    ready_seconds: float  # from the start of the process to a health check that says yes
    process: subprocess.Popen

    def peak_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def running(program):
    port = free_port()
    command = [str(word) for word in (*program.command, "--port", port)]
    with tempfile.TemporaryFile() as log:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   env=os.environ | ENVIRONMENT)
        try:
            while get(port, "/health")[0] != 200:
                if process.poll() is not None or time.monotonic() - begun > START_SECONDS:
                    log.seek(0)
                    raise RuntimeError(f"{program.name} does not start: {log.read()[-1000:].decode(errors='replace')}")
                time.sleep(0.002)
            yield Running(port, time.monotonic() - begun, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
