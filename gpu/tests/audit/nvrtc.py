"""Compiles CUDA C from standard input with NVRTC, and prints the PTX. Needs no GPU and no driver.

    python nvrtc.py OPTION... < program.cu    exit 77 without NVRTC (pip install nvidia-cuda-nvrtc)
"""

import ctypes
import glob
import os
import sys


def library():
    for folder in sys.path:
        for path in sorted(glob.glob(os.path.join(folder, "nvidia", "*", "lib", "libnvrtc.so.*"))):
            return ctypes.CDLL(path)
    try:
        return ctypes.CDLL("libnvrtc.so")
    except OSError:
        sys.exit(77)


def text(nvrtc, program, size_of, get):
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.value.decode()


nvrtc = library()
program = ctypes.c_void_p()
source = sys.stdin.buffer.read()
options = [option.encode() for option in sys.argv[1:]]
if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None):
    sys.exit("nvrtcCreateProgram failed")
failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
if failed:
    sys.exit(text(nvrtc, program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog))
print(text(nvrtc, program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX))
