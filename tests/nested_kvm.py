"""The microvm tier with KVM on a machine that has none: python3 nested_kvm.py BUILD KERNEL_DIR [GTEST_FILTER]

QEMU emulates a CPU with SVM, Debian's kernel in it has a real /dev/kvm, and the tier's own tests run there with
QEMU-KVM. Prints their output; exit status 0 when all passed. Takes about 20 seconds and a few for each test.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS_MAX = int(os.environ.get("NESTED_SECONDS", "600"))
# That a guest comes up, talks and goes, that the trial of KVM finds it, and that clones are nobody's twin.
NAMED_PART = "*Conformance*ProcessOne*/microvm:*Conformance*TheProbe*/microvm:Clones.AreQuick*"
QEMU = "/usr/bin/qemu-system-x86_64"
PROGRAMS = [QEMU, "/usr/bin/mkfs.erofs", "/usr/sbin/mkfs.ext4", "/bin/sh"]
FILES = ["/usr/share/qemu/qboot.rom", "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/pvh.bin", "/etc/mke2fs.conf"]


def libraries(program):
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", said)


def place(tree, path, target=None):
    to = tree / (target or path).lstrip("/")
    if to.exists():
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.path.realpath(path), to)


def make_tree(tree, build, kernel, test_filter):
    for link in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / link).mkdir(parents=True)
        os.symlink(f"usr/{link}", tree / link)
    for folder in ("dev", "proc", "sys", "tmp", "etc", "run"):
        (tree / folder).mkdir()
    tests = [str(build / "src" / n) for n in ("isolation_test", "isolation_test_agent", "atoll-jail")]
    for program in PROGRAMS + tests:
        place(tree, program, f"/tests/{Path(program).name}" if program in tests else program)
        for library in libraries(program):
            place(tree, library)
    for file in FILES:
        if os.path.exists(file):
            place(tree, file)
    place(tree, "/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so")
    shutil.copytree(kernel, tree / "kernel", ignore=shutil.ignore_patterns("nested"))
    (tree / "run-tests").write_text(
        "export PATH=/usr/sbin:/usr/bin ATOLL_GUEST_KERNEL=/kernel ATOLL_TEST_KVM=1 STRICT=1\n"
        f"cd /tests && exec ./isolation_test '--gtest_filter={test_filter}'\n")


def cpio(files):
    """An archive of the form newc from (path, mode, content, device)."""
    out = b""
    for number, (path, mode, content, device) in enumerate(files + [("TRAILER!!!", 0, b"", (0, 0))], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + path.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return out


def initramfs(build, kernel):
    order = [(d, n) for d in ("modules", "nested") for n in (kernel / d / "order").read_text().split()]
    none = (0, 0)
    files = [(f, 0o40755, b"", none) for f in ("dev", "atoll", "atoll/modules")]
    files.append(("dev/console", 0o20600, b"", (5, 1)))
    files.append(("atoll/modules/order", 0o100444, "\n".join(n for _, n in order).encode(), none))
    files += [(f"atoll/modules/{n}", 0o100444, (kernel / d / n).read_bytes(), none) for d, n in order]
    files.append(("init", 0o100555, (build / "src" / "isolation_nested_init").read_bytes(), none))
    return cpio(files)


def tsc_khz():
    said = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("cpu MHz")]
    return int(float(said[0].split(":")[1]) * 1000)


def main():
    build, kernel = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    test_filter = sys.argv[3] if len(sys.argv) > 3 else NAMED_PART
    if not (kernel / "nested" / "order").exists():
        print("SKIP nested KVM: no modules for it; tools/guest-kernel fetches them")
        return 0
    with tempfile.TemporaryDirectory(prefix="atoll-nested-", dir="/var/tmp") as folder:
        folder = Path(folder)
        make_tree(folder / "tree", build, kernel, test_filter)
        subprocess.run(["/usr/bin/mkfs.erofs", "--quiet", folder / "disk", folder / "tree"], check=True)
        (folder / "initrd").write_bytes(initramfs(build, kernel))
        # One CPU: with two, an interrupt from one to the other was lost while that ran a guest, and all hung.
        argv = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-M", "q35",
                "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64,+svm,+npt", "-smp", "1", "-m", "3072",
                "-kernel", kernel / "vmlinux", "-initrd", folder / "initrd", "-append",
                f"console=ttyS0 panic=-1 quiet tsc_early_khz={tsc_khz()} no_timer_check mitigations=off nokaslr transparent_hugepage=never nowatchdog",
                "-drive", f"if=none,id=d,file={folder}/disk,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=d"]
        try:
            done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False)
            said = done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace") + f"\nnested: no end within {SECONDS_MAX} s\n"
    print(said)
    return 0 if "nested: exit 0" in said and "[  PASSED  ]" in said else 1


if __name__ == "__main__":
    sys.exit(main())
