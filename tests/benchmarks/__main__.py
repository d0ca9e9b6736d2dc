"""`python -m tests.benchmarks`: each part beside what people would use instead, and beside what could be done at best.

--quick: small sizes, minutes; --only PART; --write: the table goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import re

from tests.benchmarks import engine, feeding, loop, novelty, overhead, store, training, vllm_feeding, warm
from tests.benchmarks.machine import facts
from tests.benchmarks.row import Row, table
from tests.helpers.paths import ROOT

PARTS = {
    "novelty": novelty.rows,
    "overhead": overhead.rows,
    "feeding": feeding.rows,
    "vllm": vllm_feeding.rows,
    "store": store.rows,
    "engine": engine.rows,
    "training": training.rows,
    "loop": loop.rows,
    "warm": warm.rows,
}
PAGE = ROOT / "docs" / "performance.md"
TABLE = re.compile(r"(?<=<!-- make bench WRITE=--write -->\n).*?(?=<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--write", action="store_true", help="the table goes into docs/performance.md")
    options = parser.parse_args()
    rows: list[Row] = []
    for name, measure in PARTS.items():
        if options.only in (None, name):
            print(f"{name} ...", flush=True)
            rows += measure(options.quick)
    told = f"{facts()}\n\n{table(rows)}"
    print(told)
    if options.write:
        PAGE.write_text(TABLE.sub(lambda _: f"\n{told}\n", PAGE.read_text()))


if __name__ == "__main__":
    main()
