"""The table of `closedform bench`."""

from __future__ import annotations

from typing import Any

LEGEND = """
case      shape, or number of elements; float32, or float64 where it says f64. dense NxDxH is (N, D) @ (D, H);
          conv2d NxHxWxC K 3x3 has K filters of 3 by 3 (/2: stride 2, dw: depthwise); rnn and lstm TxNxDxH have
          T steps, N rows, D inputs, H units (one step: NxDxH); train_step is one step of SGD on the network
          784-128-10, text_step on an LSTM of H units that reads NxT characters
thr       threads
time, ±   median of one call, and the spread between the quartiles
speed     arithmetic by GFLOP/s; ops that only pass over memory by GB/s
limit     share of what this machine can do, as measured in this run: multiply-adds from registers, or a
          copy of as many bytes, whichever takes longer (both on the same number of threads)
error     largest error in eps of the precision, against the NumPy twin in float64
x twin    how many times faster than the NumPy twin; for dense that is NumPy's own matmul
{peer}scratch   peak of one call's memory beyond its inputs and its result, in MiB"""
PEER = "x peer    how many times faster than PyTorch, or for mixtures scikit-learn\n"


def table(report: dict[str, Any]) -> str:
    import tabulate

    tabulate.MIN_PADDING = 0  # of headings: the table fits 120 columns
    peers = _has_peers(report)
    headers = ["op", "case", "thr", "time", "±", "speed", "", "limit", "error", "x twin"]
    headers += ["x peer"] if peers else []
    headers += ["scratch"]
    lines, before = [], None
    for row in report["rows"]:
        cells = _cells(row, peers)
        if cells[:2] == before:
            lines.append(["", "", *cells[2:]])
        else:
            lines.append(cells)
        before = cells[:2]
    align = ["left", "left", "right", "right", "right", "right", "left"] + ["right"] * (len(headers) - 7)
    return str(tabulate.tabulate(lines, headers, colalign=align, disable_numparse=True))


def _cells(row: dict[str, Any], peers: bool) -> list[str]:
    ours = row["libraries"]["closedform"]
    case = row["label"] if row["dtype"] == "float32" else f"{row['label']} f64"
    cells = [
        row["op"],
        case,
        str(row["threads"]),
        duration(ours["seconds"]),
        f"{ours['spread']:.0%}",
        f"{row['speed']:.1f}" if row["speed"] >= 1 else f"{row['speed']:.2g}",
        row["unit"],
        f"{row['of_limit']:.0%}",
        f"{ours['error']:.2f}" if row["correct"] else "WRONG",
        _times(row["speedup"].get("twin")),
    ]
    if peers:
        cells.append(_times(next((x for name, x in row["speedup"].items() if name != "twin"), None)))
    scratch = ours["scratch"]
    return [*cells, "" if scratch is None else f"{scratch / 2**20:.1f}"]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def limits_line(limits: dict[str, Any]) -> str:
    """One line on what the machine can do with some number of threads."""
    flops = ", ".join(f"{speed:.0f} GFLOP/s {dtype}" for dtype, speed in limits["GFLOP/s"].items())
    copies = [speed for _, speed in limits["GB/s"].items()]
    plural = "s" if limits["threads"] > 1 else ""
    memory = f"copies {min(copies):.0f} to {max(copies):.0f} GB/s"
    return f"limit, {limits['threads']} thread{plural}: {flops}; {memory}"


def import_line(seconds: dict[str, float]) -> str:
    ours, numpy = duration(seconds["closedform"]), duration(seconds["numpy"])
    return f"import closedform takes {ours}, after NumPy's {numpy}"


def legend(report: dict[str, Any]) -> str:
    return LEGEND.format(peer=PEER if _has_peers(report) else "")


def _has_peers(report: dict[str, Any]) -> bool:
    return any(row["speedup"].keys() - {"twin"} for row in report["rows"])
