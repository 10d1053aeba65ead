"""What a matplotlib figure shows, as data: line, scatter, bar, pie and box charts, in the form E2B's clients read."""
import datetime
import math
import re

POINTS_MAX = 100_000  # of one figure; beyond, it is only a picture
UNIT = re.compile(r"\s\((.*?)\)|\[(.*?)\]")


def of_figure(figure):
    """None where nothing was drawn."""
    axes = [ax for ax in figure.get_axes() if ax.has_data()]
    if not axes:
        return None
    if sum(points_in(ax) for ax in axes) > POINTS_MAX:
        raise ValueError(f"over {POINTS_MAX} points")
    if len(axes) == 1:
        return of_axes(axes[0])
    title = figure._suptitle.get_text() if figure._suptitle else None
    return {"type": "superchart", "title": title or None, "elements": [of_axes(ax) for ax in axes]}


def points_in(ax):
    return (sum(len(line.get_xdata(orig=False)) for line in ax.get_lines()) + len(ax.patches) +
            sum(len(collection.get_offsets()) for collection in ax.collections))


def of_axes(ax):
    for matches, make in ((is_line, line_chart), (is_box, box_chart), (is_scatter, scatter_chart), (is_pie, pie_chart),
                          (is_bar, bar_chart)):
        if matches(ax):
            return make(ax)
    return {"type": "unknown", "title": ax.get_title() or None, "elements": []}


# --- Which kind it is: by what lies in the axes. ---

def drawn(ax):
    from matplotlib.text import Text
    return [child for child in ax._children if not isinstance(child, Text)]


def all_are(children, *kinds):
    return bool(children) and all(isinstance(child, kinds) for child in children)


def is_line(ax):
    from matplotlib.lines import Line2D
    return all_are(drawn(ax), Line2D) and not box_parts(ax)


def is_box(ax):
    from matplotlib.lines import Line2D
    from matplotlib.patches import PathPatch
    children = drawn(ax)
    return all_are(children, Line2D, PathPatch) and (any(isinstance(c, PathPatch) for c in children) or
                                                    bool(box_parts(ax)))


def without_guides(ax):
    from matplotlib.lines import Line2D
    return [child for child in drawn(ax) if not (isinstance(child, Line2D) and is_guide(child))]


def is_guide(line):
    """A straight line along or across, as axhline draws."""
    x, y = list(line.get_xdata(orig=False)), list(line.get_ydata(orig=False))
    return len(x) == 2 and len(y) == 2 and (x[0] == x[1] or y[0] == y[1])


def is_scatter(ax):
    from matplotlib.collections import PathCollection
    return all_are(without_guides(ax), PathCollection)


def is_pie(ax):
    from matplotlib.patches import Wedge
    return all_are(without_guides(ax), Wedge)


def is_bar(ax):
    from matplotlib.patches import Rectangle
    # Error bars lie beside the bars as lines.
    return bool(ax.containers) and any(isinstance(child, Rectangle) for child in without_guides(ax))


# --- What they have in common. ---

def plain(value):
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, str) or value is None:
        return value
    if type(value).__module__ == "numpy" and str(getattr(value, "dtype", "")).startswith("datetime64"):
        return str(value.astype("datetime64[s]"))
    number = float(value)
    return number if math.isfinite(number) else None


def unit_of(label):
    found = UNIT.search(label or "")
    return (found.group(1) or found.group(2)) if found else None


def flat(kind, ax, swapped=False):
    x, y = ax.get_xlabel() or None, ax.get_ylabel() or None
    if swapped:
        x, y = y, x
    return {"type": kind, "title": ax.get_title() or None, "x_label": x, "y_label": y, "x_unit": unit_of(x),
            "y_unit": unit_of(y), "elements": []}


def axis_info(axis, name, scale):
    import matplotlib.dates
    ticks = list(axis.get_ticklocs())
    labels = [label.get_text() for label in axis.get_ticklabels()]
    if isinstance(axis.converter, (matplotlib.dates.DateConverter, matplotlib.dates._SwitchableDateConverter)):
        scale, ticks = "datetime", [matplotlib.dates.num2date(tick).isoformat() for tick in ticks]
    else:
        ticks = [plain(tick) for tick in ticks]
        counted = all(tick == at and label != str(at) for at, (tick, label) in enumerate(zip(ticks, labels)))
        if scale == "linear" and ticks and counted:
            scale = "categorical"
    return {f"{name}_ticks": ticks, f"{name}_tick_labels": labels, f"{name}_scale": scale}


def points(kind, ax):
    chart = flat(kind, ax)
    chart.update(axis_info(ax.xaxis, "x", ax.get_xscale()))
    chart.update(axis_info(ax.yaxis, "y", ax.get_yscale()))
    return chart


def pairs(xs, ys):
    return [[plain(x), plain(y)] for x, y in zip(xs, ys)]


# --- The kinds. ---

def line_chart(ax):
    chart = points("line", ax)
    lines = [line for line in ax.get_lines() if not is_guide(line)] or ax.get_lines()
    for line in lines:
        label = str(line.get_label())
        if label.startswith("_child"):
            label = f"Line {label[6:]}"
        chart["elements"].append({"label": label, "points": pairs(line.get_xdata(), line.get_ydata())})
    return chart


def scatter_chart(ax):
    chart = points("scatter", ax)
    for at, collection in enumerate(ax.collections):
        label = str(collection.get_label())
        if label.startswith("_child"):
            label = f"Scatter {at}"
        offsets = collection.get_offsets()
        chart["elements"].append({"label": label, "points": pairs(offsets[:, 0], offsets[:, 1])})
    return chart


def bar_chart(ax):
    from matplotlib.container import BarContainer
    containers = [c for c in ax.containers if isinstance(c, BarContainer)]
    sideways = any(c.orientation == "horizontal" for c in containers)
    chart = flat("bar", ax, swapped=sideways)
    axis = ax.yaxis if sideways else ax.xaxis
    names = [label.get_text() for label in axis.get_ticklabels()]
    for container in containers:
        group = str(container.get_label())
        if group.startswith("_container"):
            group = f"Group {group[10:]}"
        # Bars of several groups stand beside their tick, so the place in the row counts; else (a histogram) the axis is
        # of numbers.
        named = len(names) == len(container)
        for at, bar in enumerate(container):
            middle = bar.get_y() + bar.get_height() / 2 if sideways else bar.get_x() + bar.get_width() / 2
            value = bar.get_width() if sideways else bar.get_height()
            chart["elements"].append({"label": names[at] if named else f"{middle:g}", "group": group,
                                      "value": plain(value)})
    return chart


def pie_chart(ax):
    from matplotlib.patches import Wedge
    elements = [{"label": str(wedge.get_label()), "angle": round(abs(float(wedge.theta2) - float(wedge.theta1)), 6),
                 "radius": float(wedge.r)} for wedge in ax.patches if isinstance(wedge, Wedge)]
    return {"type": "pie", "title": ax.get_title() or None, "elements": elements}


def box_parts(ax):
    """The boxes, where they are lines: five points that end where they began."""
    out = []
    for line in ax.get_lines():
        x, y = list(line.get_xdata(orig=False)), list(line.get_ydata(orig=False))
        if len(x) == 5 and len(y) == 5 and x[0] == x[4] and y[0] == y[4] and len(set(x)) == 2 == len(set(y)):
            out.append((x, y))
    return out


def box_chart(ax):
    from matplotlib.patches import PathPatch
    outlines = [(list(p.get_path().vertices[:, 0]), list(p.get_path().vertices[:, 1]))
                for p in ax.patches if isinstance(p, PathPatch)] or box_parts(ax)
    sideways = is_sideways(ax, outlines)
    chart = flat("box_and_whisker", ax, swapped=sideways)
    axis = ax.yaxis if sideways else ax.xaxis
    labels = [label.get_text() for label in axis.get_ticklabels()]
    for at, (x, y) in enumerate(outlines):
        place, values = (y, x) if sideways else (x, y)
        chart["elements"].append(box_element(ax, sideways, (min(place), max(place)), (min(values), max(values)),
                                             labels[at] if at < len(labels) else str(at + 1)))
    return chart


def is_sideways(ax, outlines):
    """Boxes of one chart are equally broad across, and stand beside each other."""
    heights = {round(max(y) - min(y), 6) for _, y in outlines}
    widths = {round(max(x) - min(x), 6) for x, _ in outlines}
    if len(heights) != len(widths) or len(outlines) > 1:
        return len(heights) == 1 and len(widths) > 1
    # A single box: its median runs across it.
    x, y = outlines[0]
    for line in ax.get_lines():
        xs, ys = list(line.get_xdata(orig=False)), list(line.get_ydata(orig=False))
        if len(xs) == 2 and xs[0] == xs[1] and min(x) < xs[0] < max(x) and {min(ys), max(ys)} == {min(y), max(y)}:
            return True
    return False


def box_element(ax, sideways, place, quartiles, label):
    low, high = quartiles
    middle, outliers = (place[0] + place[1]) / 2, []
    median, least, most = None, low, high
    for line in ax.get_lines():
        xs, ys = list(line.get_xdata(orig=False)), list(line.get_ydata(orig=False))
        across, along = (ys, xs) if sideways else (xs, ys)
        if not across or min(across) < place[0] - 1e-9 or max(across) > place[1] + 1e-9:
            continue
        if len(along) == 5:
            continue  # the box itself
        marks = line.get_marker() not in (None, "None", "", " ")
        if marks:
            outliers += [plain(v) for v, at in zip(along, across) if abs(at - middle) < 1e-9]
        elif len(along) == 2 and along[0] == along[1] and low <= along[0] <= high and median is None:
            median = along[0]
        elif len(along) == 2:
            least, most = min(least, *along), max(most, *along)
    return {"label": label, "min": plain(least), "first_quartile": plain(low), "median": plain(median),
            "third_quartile": plain(high), "max": plain(most), "outliers": outliers}
