"""Runs the Autobahn test suite against a WebSocket echo server.

    python tests/autobahn/run.py target/debug/examples/echo

The server is started with the address to listen on as its only argument.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter

from kosoku import FailureError, run_fuzzingclient

# How many cases each chapter has: a run with fewer has not run the suite. Chapters 12 and 13 are compression, which
# Yamabiko does not offer; chapter 8 is empty, 11 does not exist.
CHAPTERS = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}
AT_ONCE = 4
SECONDS = 300


def main() -> int:
    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen([sys.argv[1], address])
    try:
        wait_until_listening(server, address)
        results = asyncio.run(asyncio.wait_for(run(address), SECONDS))
        if server.poll() is not None:
            sys.exit(f"the server ended during the run, with {server.returncode}")
    finally:
        server.kill()
        server.wait()
    return report(results)


async def run(address: str) -> list:
    cases = [f"{chapter}.*" for chapter in CHAPTERS]
    try:
        return await run_fuzzingclient(f"ws://{address}", cases, concurrency=AT_ONCE)
    except FailureError as failure:
        return failure.results


def report(results: list) -> int:
    """Prints every case that is not strictly OK; returns how many things are wrong."""
    wrong = 0
    for case in results:
        verdicts = (case.behavior.value, case.behavior_close.value)
        if verdicts == ("OK", "OK"):
            continue
        print(f"{case.case_id}: {verdicts[0]}, close {verdicts[1]}: {' '.join(case.description.split())}")
        if not case.passed:
            wrong += 1
            print(f"  FAILED: {case.result} {case.result_close}")
            print(f"  expected {case.expected}, received {case.received}")

    ran = Counter(case.case_id.split(".")[0] for case in results)
    for chapter, expected in CHAPTERS.items():
        if ran[chapter] != expected:
            wrong += 1
            print(f"chapter {chapter}: {ran[chapter]} cases ran, {expected} were due")

    verdicts = Counter(case.behavior.value for case in results)
    print(f"{len(results)} cases: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
    return wrong


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until_listening(server: subprocess.Popen, address: str) -> None:
    host, port = address.split(":")
    for _ in range(200):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode} before it listened")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"the server does not listen on {address}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    code = min(main(), 1)
    # kosoku's threads may abort the interpreter while it shuts down, after all results are reported.
    sys.stdout.flush()
    os._exit(code)
