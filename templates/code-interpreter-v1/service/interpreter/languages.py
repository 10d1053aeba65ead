"""Which languages there are, and how their kernels are started."""
import os

KERNELS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kernels")

COMMANDS = {
    "python": ["/usr/bin/python3", os.path.join(KERNELS, "python_kernel.py")],
    # Without the flag Node 18 lets a script import nothing.
    "javascript": ["/usr/bin/node", "--experimental-vm-modules", os.path.join(KERNELS, "javascript.mjs")],
    "bash": ["/bin/bash", os.path.join(KERNELS, "kernel.bash")],
}
ALIASES = {"python3": "python", "py": "python", "js": "javascript", "node": "javascript", "sh": "bash", "shell": "bash"}


class UnknownLanguage(Exception):
    def __init__(self, asked):
        super().__init__(f"language '{asked[:100]}' is not offered here; there are: {', '.join(COMMANDS)}")


def resolve(asked):
    """The language's own name; python where none is given."""
    name = (asked or "python").lower()
    name = ALIASES.get(name, name)
    if name not in COMMANDS:
        raise UnknownLanguage(asked)
    return name


def encode_request(language, code, env):
    """What the kernel reads. Bash has no JSON: NUL ends each piece, and no piece can hold one."""
    if language != "bash":
        import json
        return json.dumps({"code": code, "env": env}).encode() + b"\n"
    pieces = [str(len(env)), *[piece for pair in env.items() for piece in pair], code]
    return b"".join(piece.replace("\0", "").encode("utf-8", "replace") + b"\0" for piece in pieces)
