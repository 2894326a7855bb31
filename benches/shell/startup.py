"""How long shells take to run `select 1` and to show their first prompt: tidegate, DuckDB's, psql.

Usage: startup.py --tidegate PROGRAM [--duckdb PROGRAM] [--psql PROGRAM --port PORT] [--rounds N]

DuckDB's shell is in the PyPI package duckdb-cli; `tests/servers/servers postgres PORT` runs a server
for psql. The shells take turns; medians and the ratio to tidegate are printed, in milliseconds."""

import argparse
import os
import pty
import select
import statistics
import subprocess
import time


def run_query(command):
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def show_prompt(command, prompt):
    started = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm"
        os.execvp(command[0], command)
    seen = b""
    while prompt not in seen:
        if not select.select([terminal], [], [], 10)[0]:
            raise SystemExit(f"{command[0]} shows no prompt: {seen!r}")
        new = os.read(terminal, 4096)
        if b"\x1b[6n" in new:
            # DuckDB's shell asks where the cursor is.
            os.write(terminal, b"\x1b[1;1R")
        seen += new
    elapsed = time.perf_counter() - started
    os.close(terminal)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return elapsed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tidegate", required=True)
    parser.add_argument("--duckdb")
    parser.add_argument("--psql")
    parser.add_argument("--port", default="5432")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()

    # Name, command for a query, command for a prompt, the prompt.
    shells = [("tidegate", [arguments.tidegate], b"tidegate> ")]
    if arguments.duckdb:
        shells.append(("duckdb", [arguments.duckdb, "-dark-mode"], b"D "))
    if arguments.psql:
        database = ["-h", "127.0.0.1", "-p", arguments.port, "-U", "postgres", "postgres"]
        shells.append(("psql", [arguments.psql, *database], b"postgres=# "))
    times = {}
    for _ in range(arguments.rounds + 1):
        for name, command, prompt in shells:
            query = run_query([*command, "-c", "select 1"])
            times.setdefault((name, "query"), []).append(query)
            times.setdefault((name, "prompt"), []).append(show_prompt(command, prompt))
    for what in ("query", "prompt"):
        # The first round warms up.
        ours = statistics.median(times["tidegate", what][1:])
        for name, _, _ in shells:
            median = statistics.median(times[name, what][1:])
            print(f"{what:7} {name:9} {median * 1000:6.1f} ms  {median / ours:5.2f}")


if __name__ == "__main__":
    main()
