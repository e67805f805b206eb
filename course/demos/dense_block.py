"""A dense block: every layer reads all maps before it and adds a few of its own.

A layer H (batch normalisation, ReLU, 3 x 3 convolution) of a dense block reads c + l k maps and
makes k new ones, which are concatenated: x_(l+1) = [x_l, H(x_l)]. A residual block sums instead,
x_(l+1) = x_l + H(x_l), so each layer has to make as many maps as it reads.
Source: Huang et al., DenseNet, CVPR 2017, arXiv:1608.06993, §3; Jegou et al., The One Hundred
Layers Tiramisu, CVPRW 2017, arXiv:1611.09326, §3.1.
"""

from __future__ import annotations

from typing import Any

from course.demos.charts import bars
from course.demos.controls import Choice, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

LEFT, RIGHT, FLOOR, TALL = 40, 586, 436, 300
COLORS = ("vermilion", "green", "pink", "sky", "orange", "wine", "muted", "vermilion")
HATCHES = ("/", "\\", "-", "|", "x", "/", "\\", "-")


def reads(maps: int, growth: int, layers: int, joining: str) -> list[int]:
    """Maps that each layer reads.

    >>> reads(48, 12, 4, "concatenate"), reads(48, 12, 4, "sum")
    ([48, 60, 72, 84], [48, 48, 48, 48])
    """
    step = growth if joining == "concatenate" else 0
    return [maps + i * step for i in range(layers)]


def makes(maps: int, growth: int, layers: int, joining: str) -> list[int]:
    """Maps that each layer makes.

    >>> makes(48, 12, 3, "concatenate"), makes(48, 12, 3, "sum")
    ([12, 12, 12], [48, 48, 48])
    """
    return [growth if joining == "concatenate" else maps] * layers


def layer_weights(read: int, made: int) -> int:
    """Parameters of a layer: scale and shift of each map it reads, 3 x 3 kernels with bias.

    >>> layer_weights(48, 12)
    5292
    """
    return 2 * read + 9 * read * made + made


def block_weights(maps: int, growth: int, layers: int, joining: str) -> int:
    """Parameters of the block.

    >>> block_weights(48, 12, 4, "concatenate"), block_weights(48, 12, 4, "sum")
    (29088, 83520)
    """
    pairs = zip(reads(maps, growth, layers, joining), makes(maps, growth, layers, joining))
    return sum(layer_weights(read, made) for read, made in pairs)


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The stack of maps before each layer, what the chosen layer reads, and what each way costs."""
    maps, growth, layers, joining = (state[k] for k in ("maps", "growth", "layers", "joining"))
    chosen = min(state["chosen"], layers)
    stacks = [*reads(maps, growth, layers, joining)]
    made = makes(maps, growth, layers, joining)[0]
    out = stacks[-1] + (made if joining == "concatenate" else 0)
    _draw_stacks(sheet, [*stacks, out], growth, chosen, joining)
    _draw_costs(sheet, maps, growth, layers, joining, chosen)
    weights = layer_weights(stacks[chosen - 1], made)
    other = "sum" if joining == "concatenate" else "concatenate"
    total, rival = (block_weights(maps, growth, layers, way) for way in (joining, other))
    source = (
        "the input" + (f" and the maps of {chosen - 1} layers" if chosen > 1 else "")
        if joining == "concatenate"
        else "the sum of all before, in which no layer can be told apart"
    )
    last = f"There is no layer {state['chosen']}: this is the last. "
    return last * (state["chosen"] > layers) + (
        f"Layer {chosen} reads {stacks[chosen - 1]} maps, {source}, and makes {made} with "
        f"{weights:,} weights. The block passes on {out} maps for {total:,} weights; "
        f"{'summing' if other == 'sum' else 'concatenating'} would take {rival:,}."
    )


def _draw_stacks(sheet: Picture, stacks: list[int], growth: int, chosen: int, joining: str) -> None:
    dense = joining == "concatenate"
    heading = "Concatenate: the stack grows" if dense else "Sum: the stack keeps its height"
    sheet.text((24, 30), heading, size=20, bold=True)
    count, scale = len(stacks), TALL / max(stacks)
    slot = (RIGHT - LEFT) / count
    wide = min(52.0, slot * 0.62)
    maps = stacks[0]
    for i, stack in enumerate(stacks):
        x = LEFT + (i + 0.5) * slot - wide / 2
        active = i == chosen - 1
        _column(sheet, x, wide, maps, growth if dense else 0, i, scale, faded=i > chosen)
        top = FLOOR - stack * scale
        if active:
            frame = (x - 6, top - 6, x + wide + 6, FLOOR + 6)
            sheet.rect(frame, outline="ink", width=3, radius=6)
        sheet.text((x + wide / 2, top - 20), stack, size=18, bold=active, anchor="mm")
        name = "out" if i == count - 1 else f"{i + 1}"
        sheet.text(
            (x + wide / 2, FLOOR + 22), name, size=17, bold=active, anchor="mm",
            color="ink" if active else "muted",
        )  # fmt: skip
    x = LEFT + chosen * slot
    start, end = x - slot / 2 + wide / 2 + 7, x + slot / 2 - wide / 2 - 3
    height = FLOOR - (stacks[chosen] - growth / 2 if dense else stacks[chosen] / 2) * scale
    sheet.arrow((start, height), (end, height), "ink", 3, head=min(10, end - start))
    sheet.text((24, 62), f"framed: what layer {chosen} reads", size=17, color="muted")
    words = "layers 1, 2, …" if dense else "all layers added up"
    sheet.rect((330, 54, 350, 70), fill="blue", alpha=0.3, outline="blue")
    sheet.text((358, 62), "input", size=17)
    sheet.rect((420, 54, 440, 70), fill="vermilion", alpha=0.35, outline="vermilion", hatch="/")
    sheet.text((448, 62), words, size=17)


def _column(
    sheet: Picture, x: float, wide: float, maps: int, growth: int, before: int, scale: float,
    *, faded: bool,
) -> None:  # fmt: skip
    """The stack after `before` layers; with no growth, one block for the sum."""
    strength = 0.4 if faded else 1.0
    top = FLOOR - maps * scale
    if not growth and before:
        sheet.rect((x, top, x + wide, FLOOR), fill="blue", alpha=0.3 * strength)
        sheet.rect(
            (x, top, x + wide, FLOOR), fill="vermilion", alpha=0.15 * strength,
            outline="vermilion", hatch="" if faded else "/",
        )  # fmt: skip
        return
    sheet.rect((x, top, x + wide, FLOOR), fill="blue", alpha=0.3 * strength, outline="blue")
    for layer in range(before):
        color = COLORS[layer]
        box = (x, top - (layer + 1) * growth * scale, x + wide, top - layer * growth * scale)
        sheet.rect(
            box, fill=color, alpha=0.35 * strength, outline=color,
            hatch="" if faded else HATCHES[layer],
        )  # fmt: skip
        if growth * scale >= 20:
            middle = (x + wide / 2, (box[1] + box[3]) / 2)
            sheet.text(middle, layer + 1, size=16, anchor="mm", halo=True)


def _draw_costs(
    sheet: Picture, maps: int, growth: int, layers: int, joining: str, chosen: int
) -> None:
    sheet.text((634, 30), "Weights, thousands", size=20, bold=True)
    rows = [
        ("▸ " * (i + 1 == chosen) + f"layer {i + 1}", layer_weights(read, made) / 1000)
        for i, (read, made) in enumerate(
            zip(reads(maps, growth, layers, joining), makes(maps, growth, layers, joining))
        )
    ]
    high = max(value for _, value in rows)
    bars(
        sheet, (628, 52, 944, 52 + 33 * layers), [name for name, _ in rows],
        [value for _, value in rows], high=high, colors=("blue",), form="{:.1f}", name_width=82,
    )  # fmt: skip
    both = [block_weights(maps, growth, layers, way) / 1000 for way in ("concatenate", "sum")]
    sheet.text((634, 346), "Whole block", size=20, bold=True)
    bars(
        sheet, (628, 364, 944, 444), ["concatenate", "sum"], both, high=max(both),
        colors=("green", "orange"), form="{:.1f}", name_width=124,
    )  # fmt: skip
    passed = (maps + growth * layers, maps)
    sheet.text((634, 462), "maps out: {} and {}".format(*passed), size=17, color="muted")


DEMO = Demo(
    name="dense_block",
    title="A dense block",
    lab=9,
    idea="Each column is what a layer reads. Add layers, raise the growth rate, and compare with "
    "summation.",
    predict=(
        "Each layer of a dense block reads more maps than the one before. Has it more weights than "
        "a layer that sums?",
        "Far fewer at the start: it makes k maps, not as many as it reads. The bars grow with each "
        "layer, and with many layers and a large k they pass the sum.",
    ),
    controls=(
        Slider("growth", "Growth rate k", 12, 4, 48, 2),
        Slider("layers", "Layers", 4, 1, 8),
        Slider("maps", "Maps at the input", 48, 8, 96, 4),
        Slider("chosen", "Look at layer", 3, 1, 8),
        Choice("joining", "Join by", "concatenate", ("concatenate", "sum")),
    ),
    draw=draw,
    stills=(
        Still("The first layer reads the input", {"chosen": 1}),
        Still("The fourth reads input and three layers", {"chosen": 4}),
        Still("Summation keeps 48 maps and pays for all", {"joining": "sum", "chosen": 4}),
        Still("The largest growth: 8 layers of 48", {"growth": 48, "layers": 8, "chosen": 8}),
    ),
    source="Jegou et al. 2017, §3.1, arXiv:1611.09326; module course.models.fc_densenet",
)
