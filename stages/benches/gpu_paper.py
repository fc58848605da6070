"""What a step of training asks of a GPU, kernel by kernel, where there is no GPU.

    gpu_paper.py PROGRAM MODEL STAND_IN PTXAS

PROGRAM is the bench `training`, STAND_IN the folder with the stand-in for CUDA's driver
(target/tmp/stand-in, which `cargo test -p repro-gpu --test ops` builds), PTXAS the assembler of CUDA
(pip install nvidia-cuda-nvcc-cu12). The stand-in writes down every launch of a step; the assembler says
what registers and shared memory a kernel takes. Bytes are those of the memory that a launch is given,
each once: what has to move at least, up to blocks that are longer than what is in them.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

# Of an H100 with SXM: multiply-adds of f32 without tensor cores (two operations each), memory,
# multiprocessors, their registers, warps, and bytes of shared memory; bytes of the cache of all.
PEAK, MEMORY, UNITS = 66.9e12, 3.35e12, 132
REGISTERS, WARPS, SHARED = 65536, 64, 233472
CACHE = 50 << 20
# Of the instructions of a product's inner loop, multiply-adds are 256 of 287.
INNER = 256 / 287


def begun(program, model, stand_in, log, executes):
    """A process that has taken its first step, or what it says instead."""
    environment = dict(
        os.environ,
        LD_LIBRARY_PATH=stand_in,
        OCL_ICD_VENDORS="/nonexistent",
        STAND_IN_LAUNCHES=log,
        STAND_IN_UNITS=str(UNITS),
        STAND_IN_CACHE=str(CACHE),
        STAND_IN_EXECUTES=str(executes),
    )
    child = subprocess.Popen(
        [program, "--serve-on-gpu", model],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = child.stdout.readline().strip()
    return (child, None) if said == "ready" else (None, said)


def launches(program, model, stand_in):
    """The launches of one step: name, groups, items, bytes, whole numbers."""
    with tempfile.TemporaryDirectory() as folder:
        # The launches of the self-test have to be executed, as it compares bits; no more than these, as
        # the stand-in is slow.
        for executes in range(32, 1024, 16):
            log = os.path.join(folder, str(executes))
            child, said = begun(program, model, stand_in, log, executes)
            if child or "differ" not in said:
                break
        if not child:
            sys.exit(said)
        for _ in range(3):
            child.stdin.write("train 0\n")
            child.stdin.flush()
            child.stdout.readline()
        child.stdin.close()
        child.wait()
        lines = [line.split() for line in open(log)]
    begins = [i for i, line in enumerate(lines) if line[0] == "show_images"]
    step = lines[begins[-2] : begins[-1]]
    return [(name, *map(int, [groups, items, size])) + (tuple(map(int, rest)),) for name, groups, items, size, *rest in step]


def kernels(ptxas, architecture):
    """Registers and shared memory of each kernel."""
    ptx = os.path.join(os.path.dirname(__file__), "../../gpu/ptx/sm_70.ptx")
    command = [ptxas, "-v", f"-arch={architecture}", ptx, "-o", "/dev/null"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found, name = {}, None
    for line in said.splitlines():
        if entry := re.search(r"entry function '(\w+)'", line):
            name = entry[1]
        if used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found[name] = int(used[1]), int(shared[1]) if shared else 0
    return found


def moved(launch):
    """Bytes: Winograd's transforms have some images of those in their memory."""
    name, _, _, size, numbers = launch
    if name in ("winograd_input", "winograd_gradient"):
        return (16 + 4) * 4 * numbers[0]
    if name == "winograd_output":
        return (16 + 4) * 4 * numbers[1]
    return size


def operations(name, numbers):
    """Of multiply-adds, two each. A product's sizes stand behind its operands' places."""
    if not name.startswith("product"):
        return 0
    m, n, k = numbers[28:31]
    return 2 * m * n * k


def main():
    program, model, stand_in, ptxas = sys.argv[1:]
    step, known = launches(program, model, stand_in), kernels(ptxas, "sm_90")
    rows = collections.defaultdict(list)
    for launch in step:
        rows[launch[0]].append(launch)

    def products(name, groups, numbers):
        """Products of a launch: what its groups are of those of one."""
        if not name.startswith("product"):
            return 1
        m, n, _ = numbers[28:31]
        pieces = numbers[33]
        return groups // (-(-m // 128) * -(-n // 64)) // pieces

    table, total = [], [0, 0, 0.0, 0.0]
    for name, all_of_it in rows.items():
        registers, shared = known[name]
        items = max(launch[2] for launch in all_of_it)
        warps = -(-items // 32)
        # Registers are given to a warp in steps of 256, 8 for each of its items.
        by_registers = REGISTERS // (-(-registers // 8) * 8 * 32 * warps)
        groups_at_once = min(by_registers, WARPS // warps, 32, SHARED // (shared + 1024) if shared else 32)
        size = sum(map(moved, all_of_it))
        work = sum(operations(name, l[4]) * products(name, l[1], l[4]) for l in all_of_it)
        seconds = sum(
            max(moved(l) / MEMORY, operations(name, l[4]) * products(name, l[1], l[4]) / (PEAK * INNER)) for l in all_of_it
        )
        groups = sorted(launch[1] for launch in all_of_it)
        busy = sum(launch[1] >= UNITS for launch in all_of_it)
        table.append((seconds, name, len(all_of_it), groups, busy, items, registers, groups_at_once * warps, size, work))
        total = [total[0] + len(all_of_it), total[1] + size, total[2] + work, total[3] + seconds]
    print(f"{model}: {total[0]} launches, {total[1] / 1e6:.0f} MB, {total[2] / 1e9:.1f} GFLOP, {total[3] * 1e6:.0f} µs at least\n")
    print("| kernel | launches | of them with a group for each multiprocessor | groups | registers | warps at once | MB | GFLOP | µs at least |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seconds, name, count, groups, busy, items, registers, warps, size, work in sorted(table, reverse=True):
        span = f"{groups[0]:,}" if groups[0] == groups[-1] else f"{groups[0]:,}–{groups[-1]:,}"
        print(
            f"| `{name}` | {count} | {busy} | {span} | {registers} | {warps} of 64 | {size / 1e6:.1f} | {work / 1e9:.2f} | {seconds * 1e6:.1f} |"
        )


main()
