"""Plants errors in the conformance set's PTX and expects every one to be found.

    python3 planted.py CONFORMANCE PTX-FOLDER

An expectation that agrees with anything would agree with a GPU that is wrong.
Each row exchanges one instruction for a near relative, which loads and runs as
well; the case that covers it must pass before and fail after.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# (device, PTX, case, instruction, what it becomes)
FAULTS = [
    ("sm_80", "integer.sm_80", "shifts and bit fields", "bfe.s32", "bfe.u32"),
    ("sm_80", "integer.sm_80", "prmt", "prmt.b32.ecl", "prmt.b32.ecr"),
    ("sm_80", "float.sm_80", "f32 sums and products", "fma.rz.f32", "fma.rn.f32"),
    ("sm_80", "float.sm_80", "f32 minima", "max.NaN.f32", "max.f32"),
    ("sm_80", "half.sm_80", "f16x2 arithmetic", "mul.rn.ftz.f16x2", "mul.rn.f16x2"),
    ("sm_80", "convert.sm_80", "cvt with f16", "cvt.rz.f16x2.f32", "cvt.rn.f16x2.f32"),
    ("sm_89", "convert_fp8.sm_89", "cvt with fp8", "satfinite.e4m3x2.f32", "satfinite.e5m2x2.f32"),
    ("sm_80", "warp.sm_80", "shfl.sync", "shfl.sync.bfly", "shfl.sync.down"),
    ("sm_80", "warp.sm_80", "vote", "redux.sync.max.s32", "redux.sync.max.u32"),
    ("sm_80", "atomics.sm_80", "atom and red, global", "global.xor.b32", "global.or.b32"),
    ("sm_80", "copies.sm_80", "cp.async groups", "cp.async.wait_group 1", "cp.async.wait_group 2"),
    ("sm_80", "matrix_load.sm_80", "ldmatrix x4", "m8n8.x4.shared", "m8n8.x4.trans.shared"),
    ("sm_90a", "matrix_store.sm_90", "stmatrix x2", "m8n8.x2.shared", "m8n8.x2.trans.shared"),
    ("sm_80", "mma.sm_80", "mma m16n8k32 s8 s8", "s32.s8.s8.s32", "s32.u8.s8.s32"),
    ("sm_80", "mma.sm_80", "mma m16n8k16 bf16", "f32.bf16.bf16.f32", "f32.f16.f16.f32"),
    ("sm_90a", "bulk.sm_90", "cp.reduce.async.bulk", "bulk_group.min.s32", "bulk_group.max.s32"),
    ("sm_90a", "bulk.sm_90", "tensor reduction", "shared::cta.add.tile", "shared::cta.max.tile"),
    ("sm_80", "control.sm_80", "brx.idx", "brx.idx", "// brx.idx"),
    ("sm_90a", "cluster.sm_90", "red.async", "bytes.max.u32", "bytes.min.u32"),
    ("sm_90a", "tensor_map.sm_90a", "tensormap.replace", "b1024.b32 [%r26], 2;", "b1024.b32 [%r26], 1;"),
    ("sm_100a", "matrix_bytes.sm_100a", "ldmatrix m8n16 b4 x2",
     "x2.shared.b8x16.b4x16_p64", "x2.shared.b8x16.b6x16_p32"),
    ("sm_120a", "mma_scaled.sm_120a", "mma mxf8f6f4 e2m3", "e2m3.e2m1.f32.ue8m0", "e3m2.e2m1.f32.ue8m0"),
    ("sm_120a", "mma_scaled.sm_120a", "mma mxf4nvf4", "{0, 1}", "{0, 2}"),
    ("sm_90a", "wgmma.sm_90a", "wgmma u8 s8", "s32.u8.s8", "s32.s8.s8"),
    ("sm_90a", "wgmma.sm_90a", "wgmma f16, A negated", "p, -1, 1", "p, 1, 1"),
]


def fails(program, device, folder, case):
    """Whether the cases of that name fail; None if none ran."""
    done = subprocess.run([program, "--driver", f"sim:{device}", "--ptx", folder, "--only", case],
                          capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or " 0 passed, 0 failed" in done.stdout:
        return None
    return done.returncode == 1


def main():
    program, source = sys.argv[1], Path(sys.argv[2])
    missed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for device, ptx, case, wanted, planted in FAULTS:
            name = f"{ptx}.ptx"
            text = (source / name).read_text(encoding="utf-8")
            shutil.copy(source / name, temporary)
            before = fails(program, device, temporary, case)
            (Path(temporary) / name).write_text(text.replace(wanted, planted), encoding="utf-8")
            after = fails(program, device, temporary, case)
            (Path(temporary) / name).unlink()
            if wanted not in text or before is not False or after is not True:
                missed += 1
                print(f"not found: {wanted} as {planted} by '{case}' "
                      f"(in the PTX: {wanted in text}, fails before: {before}, after: {after})")
    print(f"{len(FAULTS) - missed} of {len(FAULTS)} planted errors found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
