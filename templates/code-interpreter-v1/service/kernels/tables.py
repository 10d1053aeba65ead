"""A pandas table as plain columns."""
import datetime
import math

CELLS_MAX = 500_000


def columns(frame):
    if frame.size > CELLS_MAX:
        raise ValueError(f"{frame.size} cells, the limit is {CELLS_MAX}")
    return {str(name): [plain(value) for value in frame.iloc[:, at].tolist()] for at, name in enumerate(frame.columns)}


def plain(value):
    """What JSON can hold. Not-a-number and not-a-time are null."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value != value:
        return None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)
