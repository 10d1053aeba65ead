"""From a kernel's mime bundle to a result as the clients read it."""

FIELDS = {
    "text/plain": "text", "text/html": "html", "text/markdown": "markdown", "image/svg+xml": "svg", "image/png": "png",
    "image/jpeg": "jpeg", "application/pdf": "pdf", "text/latex": "latex", "application/json": "json",
    "application/javascript": "javascript", "e2b/data": "data", "e2b/chart": "chart",
}
BASE64_FIELDS = ("png", "jpeg", "pdf")


def unquoted(text):
    """A string's repr without its quotes, as E2B shows it."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def result(data, main):
    line = {"type": "result", "is_main_result": bool(main)}
    extra = {}
    for mime, value in data.items():
        field = FIELDS.get(mime)
        if field is None:
            extra[mime] = value
        elif field == "text":
            line["text"] = unquoted(str(value))
        elif field in BASE64_FIELDS and isinstance(value, str):
            line[field] = value.replace("\n", "")
        else:
            line[field] = value
    if extra:
        # Python's client reads `extra`, JavaScript's takes the members that it does not know.
        line["extra"] = extra
        line.update({name: value for name, value in extra.items() if name not in line})
    return line


def error(name, value, traceback=""):
    return {"type": "error", "name": name, "value": value, "traceback": traceback}
