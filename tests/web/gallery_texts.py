"""What is said on the platform of gallery.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


PACE_S = 0.02  # of a word, so that speeds and times of thinking are believable


@dataclass(frozen=True)
class Talk:
    title: str
    asked: str
    answer: str
    thought: str = ""
    other: str = ""  # what a second model answers
    pinned: bool = False

    def script(self, model: str) -> dict[str, Any]:
        said = self.other if self.other and model.endswith("air") else self.answer
        thought = _words(self.thought)
        return {"words": thought + _words(said), "reasoning": len(thought), "prompt": 900, "cached": 640, "pace_s": PACE_S}


def _words(text: str) -> list[str]:
    return re.findall(r"[㐀-鿿]{1,2}|[^\s㐀-鿿]+\s*|\s+", text)


COLLECTIONS = Talk(
    "Lists, tuples and sets",
    "When do I use a list, a tuple or a set in Python? A table and a short example, please.",
    """Three questions decide: does the order matter, will it change, and may a value occur twice?

| | Order | Can change | Duplicates | `in` takes |
|---|---|---|---|---|
| `list` | yes | yes | yes | longer with length |
| `tuple` | yes | no | yes | longer with length |
| `set` | no | yes | no | the same always |

A **set** is the right answer more often than people think, for instance for what two groups share:

```python
def in_both(first: list[str], second: list[str]) -> list[str]:
    \"\"\"What stands in both lists, in the order of the first.\"\"\"
    known = set(second)
    return [name for name in first if name in known]


print(in_both(["fig", "kiwi", "plum"], ["plum", "fig"]))  # ['fig', 'plum']
```

A tuple can be a key of a dictionary, because it never changes.
""",
    "The table should have one row for each type. What decides between them: order, change, duplicates, speed of looking up. "
    "For the example, something where a set clearly wins: what two lists share. I keep the order of the first one.",
    pinned=True,
)
PAGE = Talk(
    "A timer for tea",
    "Write me a small page: a timer for tea, three minutes, one button.",
    """Here it is. The ring empties as the tea draws.

```html
<!doctype html>
<html lang="en">
<title>Tea</title>
<style>
  body { margin: 0; height: 100vh; display: grid; place-items: center; background: #f4efe4; font-family: Georgia, serif; color: #3b2f22 }
  main { text-align: center }
  .ring { width: 15rem; height: 15rem; border-radius: 50%; display: grid; place-items: center; margin: 0 auto 1.5rem;
          background: conic-gradient(#b5713a calc(var(--left) * 1%), #e5dac5 0) }
  .ring span { width: 12.5rem; height: 12.5rem; border-radius: 50%; background: #f4efe4; display: grid; place-items: center; font-size: 3.25rem }
  button { font: inherit; font-size: 1.125rem; padding: .6rem 1.8rem; border: 0; border-radius: 99px; background: #3b2f22; color: #f4efe4 }
</style>
<main>
  <div class="ring" style="--left: 72"><span>2:10</span></div>
  <button>Pause</button>
</main>
</html>
```

Tell me if it should ring at the end, or keep the times of several teas.
""",
)
BESIDE = Talk(
    "A name for a library of maps",
    "Suggest one name for a small library that draws maps, and say in two sentences why.",
    "**Meridian.** It is a word that everybody who reads maps knows, short, and easy to say in most languages. "
    "It promises a line to hold on to, which is what a good drawing library gives you.",
    other="**Plat.** A plat is a map of a piece of land, drawn to scale, so the word says exactly what the library does. "
    "Four letters also make a good name for a package and for a command.",
)
PARABOLA = Talk(
    "斜抛运动的最大射程",
    "斜抛运动的最大射程怎么推导？请写出公式，并画一张思路图。",
    r"""设初速度为 $v_0$，仰角为 $\theta$，忽略空气阻力。

## 推导

飞行时间由竖直方向决定，射程由水平方向决定：

$$
t = \frac{2 v_0 \sin\theta}{g}, \qquad R = v_0 \cos\theta \cdot t = \frac{v_0^2 \sin 2\theta}{g}
$$

当 $\sin 2\theta = 1$，即 $\theta = 45^\circ$ 时射程最大，$R_{\max} = v_0^2 / g$。

```mermaid
graph LR
  A[分解初速度] --> B[竖直方向求时间]
  B --> C[水平方向求射程]
  C --> D[对仰角求最大值]
```

**小提示：**互余的两个仰角射程相同，例如 $30^\circ$ 与 $60^\circ$。
""",
    "先把初速度分解为水平与竖直两个方向。竖直方向是匀减速运动，由此得到飞行时间；水平方向匀速，射程等于水平速度乘时间。最后用二倍角公式化简。",
    pinned=True,
)
WEEK = Talk(
    "周报：把三点写清楚",
    "帮我把这周的工作写成三点周报：接口提速、修复导出、下周计划。",
    """1. **接口提速。**查询加了索引，列表页从 820 毫秒降到 95 毫秒。
2. **修复导出。**超过一万行的表格不再缺行，并补了测试。
3. **下周计划。**灰度上线新的权限页，收集反馈后全量。

| 事项 | 状态 | 负责人 |
|---|---|---|
| 索引上线 | 已完成 | 后端组 |
| 导出修复 | 已完成 | 平台组 |
| 权限页灰度 | 周二开始 | 前端组 |
""",
    "用户要三点，每点一句结论加一个数字最好。最后附一张表，方便转发。",
)
SHORT = Talk(
    "TCP and UDP",
    "Explain the difference between TCP and UDP in one sentence.",
    "TCP delivers everything in order or tells you that it could not; UDP sends and forgets.",
)
SMALL = [
    Talk(title, title, answer)
    for title, answer in (
        ("Plan a weekend in the mountains", "Start early, walk the ridge first, and keep the lake for the afternoon."),
        ("为什么天空是蓝色的", "因为波长较短的蓝光更容易被空气分子散射。"),
        ("一封得体的感谢邮件", "谢谢您抽出时间，这次交流对我们帮助很大。"),
        ("Regular expression for a date", r"`\d{4}-\d{2}-\d{2}` finds it; check the month with a parser."),
    )
]
TALKS = [*SMALL, SHORT, WEEK, BESIDE, PAGE, PARABOLA, COLLECTIONS]

ASSISTANTS: list[dict[str, Any]] = [
    {"name": name, "description": description, "instructions": description, "examples": examples, "visibility": visibility}
    for name, description, examples, visibility in (
        ("代码审查员", "先找错误，再谈风格；每条意见都给出改法。", ["请审查这个函数", "这段代码有竞态吗？"], "organisation"),
        ("Plain words", "Rewrites official letters so that everybody understands them.", ["Simplify this letter"], "listed"),
        ("旅行手账", "按天安排行程，顺路、省力，留出发呆的时间。", ["三天两夜的海边行程"], "private"),
        ("Data detective", "Looks at a table, asks what is odd about it, and shows the query.", ["What is odd here?"], "organisation"),
        ("论文助读", "用三段话讲清一篇论文：问题、方法、局限。", ["总结这篇论文的方法"], "listed"),
        ("Kitchen helper", "Cooks with what is there, and says what can be left out.", ["Dinner from leeks and eggs"], "private"),
    )
]
PROMPTS: list[dict[str, Any]] = [
    {"command": "review", "title": "Review this code", "text": "Review the following code. Mistakes first:\n\n{{code}}"},
    {"command": "translate", "title": "翻译成英文", "text": "把下面的文字翻译成自然的英文：\n\n{{text}}"},
]
