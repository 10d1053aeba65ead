"""Wildcard DNS for a test's own processes, as a user's zone would have it: *.DOMAIN is this machine."""
import ctypes
import os
import socket
import struct
import subprocess
import tempfile
import threading

CLONE_NEWNS = 0x20000
ADDRESS = "127.0.0.1"


def answer(question, domain):
    """The reply to one DNS query: A for names in `domain`, an empty answer for all else."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += 1 + question[at]
    end = at + 5
    kind = struct.unpack("!H", question[at + 1:at + 3])[0]
    name = ".".join(labels).lower()
    inside = name == domain or name.endswith("." + domain)
    count = 1 if inside and kind == 1 else 0
    head = question[:2] + struct.pack("!HHHHH", 0x8580 | (0 if inside else 3), 1, count, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + socket.inet_aton(ADDRESS)
    return head + question[12:end] + record * count


class Names:
    """with Names(domain): the caller's process and its children resolve *.domain. Needs root, and no other thread
    yet: the mount namespace is the thread's."""

    def __init__(self, domain):
        self.domain = domain

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # An address of its own, so that two runs and a resolver of the machine do not meet.
        self.address = f"127.{10 + os.getpid() % 200}.{os.getpid() // 200 % 250}.53"
        self.socket.bind((self.address, 53))
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        with tempfile.NamedTemporaryFile("w") as file:
            os.chmod(file.name, 0o644)
            file.write(f"nameserver {self.address}\noptions timeout:2 attempts:2\n")
            file.flush()
            subprocess.run(["mount", "--bind", file.name, os.path.realpath("/etc/resolv.conf")], check=True)
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            try:
                self.socket.sendto(answer(question, self.domain), peer)
            except (IndexError, struct.error, OSError):
                continue

    def __exit__(self, *_):
        subprocess.run(["umount", os.path.realpath("/etc/resolv.conf")], check=True)
        self.socket.close()
