"""The plot of the latencies."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw(
    path: Path, loads: Sequence[float], panels: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str]
) -> None:
    """Draw a panel for each kind of latency, over the load.

    Args:
        path: of the SVG.
        loads: in % of the capacity.
        panels: by title, for each load its quantiles in milliseconds.
        names: of the quantiles.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (of the extra `bench`: only a plot needs it)

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, levels) in zip(axes, panels.items(), strict=True):
        for name, values in zip(names, zip(*levels, strict=True), strict=True):
            axis.plot(loads, values, marker="o", label=name)
        axis.set(title=title, xlabel="load, % of the capacity", yscale="log", xticks=loads)
        axis.grid(visible=True, which="both", alpha=0.3)
    axes[0].set_ylabel("ms")
    axes[-1].legend()
    figure.savefig(path)
