"""A conversation as people have them with a model: prose, code, tables, lists, formulas, some of it Chinese.

The same for every contestant, and in every run. Its first question and its last answer hold words that occur
nowhere else, so that a page can be asked whether it shows them."""

from __future__ import annotations

FIRST, LAST = "marker-of-the-first-question", "marker-of-the-last-answer"
TITLE = "Notes of a long project"

QUESTIONS = (
    "How do I keep the last {n} results of a slow function in Python?",
    "Please compare the options for question {n} in a table, and say which one you would take.",
    "请用一个例子解释第 {n} 步，最好带代码。",
    "What is the probability of at least one hit in {n} tries? Show the formula.",
    "Make a plan for week {n}, with what can go wrong.",
)
ANSWERS = (
    """A decorator of the standard library does it, and the limit is its argument:

```python
from functools import lru_cache


@lru_cache(maxsize={n})
def slow(number: int) -> int:
    total = 0
    for step in range(number):
        total += step * step
    return total


print(slow(1000), slow.cache_info())
```

Two things to know:

- Arguments must be **hashable**, so a list has to become a tuple first.
- `cache_clear()` empties it, which tests want between cases.

If results grow old, keep the time beside the value and compare it before you answer from the cache.
""",
    """It depends on how often you read, and how often you write:

| Option | Reads | Writes | Memory | When |
|---|---:|---:|---:|---|
| sorted list | 12 ms | 340 ms | 8 MB | rarely changed |
| hash table | 2 ms | 3 ms | 21 MB | looked up by key |
| B-tree | 4 ms | 6 ms | 14 MB | ranges are asked for |
| plain file | 900 ms | 1 ms | 0 MB | written once |

I would take the **hash table** here: case {n} looks up single keys, and the *extra memory* is small
beside what the process already has. See [the notes](https://example.com/notes/{n}) for how this was measured.

> If you must list keys in order later, moving to the B-tree is a change of one line.
""",
    """可以把它分成三步来看：

1. **读取**：按行读文件，不要一次全部放进内存；
2. **统计**：用字典记录每个词出现的次数；
3. **排序**：只取前 {n} 个。

```python
from collections import Counter
from pathlib import Path

def top(path: Path, most: int) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(line.split())
    return counts.most_common(most)
```

注意：中文没有空格，`split()` 不会分词。可以先按字统计，或者换成分词工具，其余部分不变。
""",
    """Count the opposite: no hit at all. With independent tries of probability $p$,

$$P(\\text{{at least one}}) = 1 - (1 - p)^{{{n}}}$$

For small $p$ this is close to $1 - e^{{-{n}p}}$, because $(1 - p) \\approx e^{{-p}}$. So with $p = 0.01$
and {n} tries the two differ only in the third digit. The number of tries for an even chance is

$$k = \\frac{{\\ln 2}}{{-\\ln(1 - p)}} \\approx \\frac{{0.69}}{{p}}$$

which is where the *rule of seventy* comes from.
""",
    """### Week {n}

- [x] Agree on what is measured, and by whom
- [ ] Move the data, **without** stopping the old road
- [ ] Compare both for a day
  - totals of every account
  - a sample of single rows
- [ ] Switch, and keep the way back open

```bash
set -euo pipefail
export BATCH={n}
for shard in 0 1 2 3; do
  ./move --shard "$shard" --batch "$BATCH" | tee -a move.log
done
grep -c moved move.log
```

What can go wrong: a shard that is slower than the others, a disk that fills, somebody on
holiday. For each of them write down *who decides* before you begin; in the middle nobody finds the time.
""",
)


def talk(messages: int) -> list[dict[str, str]]:
    """`role` and `text`, the user first, in turns."""
    told = []
    for number in range(messages):
        n, kind = number // 2 + 2, (number // 2) % len(QUESTIONS)
        said = (ANSWERS if number % 2 else QUESTIONS)[kind].format(n=n)
        told.append({"role": "assistant" if number % 2 else "user", "text": said})
    told[0]["text"] += f" {FIRST}"
    told[-1]["text"] += f"\n{LAST}"
    return told
