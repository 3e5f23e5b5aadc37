"""Rewrites the tests of rules, which are written for a scrape every 30 s, for another interval.

    alerts-at-interval.py SECONDS <slow-scrape.test.yml >other.test.yml

Each sample becomes several: `a+bxn` stands for n + 1 samples that grow by b.
"""

import re
import sys

WRITTEN_FOR = 30
seconds = int(sys.argv[1])
factor, rest = divmod(WRITTEN_FOR, seconds)
assert rest == 0, f"{seconds} does not divide {WRITTEN_FOR}"


def samples(run: re.Match) -> str:
    start, step, times = run["start"], run["step"], int(run["times"] or 0)
    times = factor * (times + 1) - 1
    if step is None:
        return f"{start}x{times}"
    return f"{start}+{int(step) / factor:g}x{times}"


def values(line: re.Match) -> str:
    runs = re.sub(r"(?P<start>\d+)(?:\+(?P<step>\d+))?(?:x(?P<times>\d+))?", samples, line[2])
    return line[1] + runs + line[3]


text = sys.stdin.read()
text = re.sub(r"(values: )([^}]*?)( })", values, text)
text, replaced = re.subn(r"(interval: (?:&\w+ )?)30s", rf"\g<1>{seconds}s", text)
assert replaced == 2, "the intervals of scrape and evaluation"
sys.stdout.write(text)
