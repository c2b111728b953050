"""Measure gsbench on this machine, from a checkout of the repository:

    python -m benchmarks                      everything, a quarter of an hour
    python -m benchmarks rasterizer training  some modules
    python -m benchmarks --quick              small and once, to see that all of it works
    python -m benchmarks --capture DIR        also a training on a capture in COLMAP's layout
    python -m benchmarks --write              also into benchmarks/RESULTS.md

Numbers are medians of repetitions in which the things that are compared take turns. Absolute times are of this machine;
ratios are what can be compared with another. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.results import RESULTS, write_cpu
from benchmarks.table import Settings, Table, available_isas, machine
from gsbench.bench.memory import usable_cores

#: Modules with a function `tables(settings)` that measures and yields `Table`s.
MODULES = ("rasterizer", "training", "neighbors", "evaluation", "coders", "anchors")


def measure(modules: Sequence[str], settings: Settings) -> Iterator[Table]:
    """The tables of the modules, one after the other."""
    for name in modules:
        yield from importlib.import_module(f"benchmarks.{name}").tables(settings)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[int]:
    numbers = [int(name) for name in _names(text)]
    if min(numbers) < 1:
        raise ValueError
    return numbers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, once")
    parser.add_argument("--threads", type=_numbers, metavar="N,...", help="numbers of threads [default: 1,2]")
    parser.add_argument(
        "--isa", type=_names, metavar="NAME,...", help="instruction sets [default: all of this machine]"
    )
    parser.add_argument("--capture", type=Path, metavar="DIR", help="a capture in COLMAP's layout to train on")
    parser.add_argument("--repetitions", type=int, default=15, metavar="N", help="of each measurement [default: 15]")
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="per comparison, at most [default: 20]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args(arguments)
    unknown = sorted({*given.modules} - {*MODULES})
    if unknown:
        parser.error(f"no module {', '.join(unknown)}; expected some of {', '.join(MODULES)}")
    isas = given.isa or available_isas()
    if missing := sorted({*isas} - {*available_isas()}):
        parser.error(f"this machine has no {', '.join(missing)}; it has {', '.join(available_isas())}")
    settings = Settings(
        quick=given.quick,
        threads=sorted({*(given.threads or range(1, min(2, usable_cores()) + 1))}),
        isas=isas,
        capture=given.capture,
        repetitions=given.repetitions,
        seconds=given.seconds,
    )
    facts = machine()
    if not given.json:
        print("\n".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n", flush=True)
    found, begin = [], time.perf_counter()
    for table in measure(given.modules or MODULES, settings):
        found.append(table)
        if not given.json:
            print(table.text(), flush=True)
        print(f"[{time.perf_counter() - begin:.0f} s] {table.title}", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"machine": facts, "tables": [table.json() for table in found]}, indent=1))
    if given.write:
        options = [
            *(given.modules),
            *(["--quick"] if given.quick else []),
            *(["--capture DIR"] if given.capture else []),
        ]
        write_cpu(RESULTS, found, facts, " ".join(["python -m benchmarks", *options, "--write"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
