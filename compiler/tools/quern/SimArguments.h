//===- SimArguments.h - What quern sim passes to a kernel -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One `--arg` for each parameter of the kernel, in order:
//
//     i32:-5  u64:7  f32:1.5  f16:0.5        a value; i8 u8 i16 u16 i32 u32 i64
//                                            u64 f16 bf16 f32 f64 b8 b16 b32
//                                            b64
//     in:x.npy                               a buffer kernels may only read
//     inout:x.npy[:y.npy]                    a buffer with these contents
//     out:f32[64,64][:y.npy]                 a buffer of bytes 0xff
//     zeros:i32[16][:y.npy]                  a buffer of zeros
//     random:f16[64,64][:y.npy]              drawn: floats N(0,1), integers
//                                            uniform over -100..100 (0..100)
//     bytes:file.bin                         the file as the value of a
//                                            parameter that is a struct
//
// and `NAME=` before any of these is what reports call the buffer; without it
// they use the parameter's own name. The second file is where the contents go
// after the run. A file whose name does not end in .npy is read and written as
// the bare bytes.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_SIMARGUMENTS_H
#define QUERN_TOOLS_QUERN_SIMARGUMENTS_H

#include "quern/tensor.h"
#include "runtime/device/sim/PtxSyntax.h"
#include "runtime/io/AtomicFile.h"

#include <string>
#include <vector>

namespace quern::tool {

struct SimArgument {
  std::string name;
  std::string text; ///< As given.
  /// A value: its bytes, as wide as the parameter.
  std::vector<std::byte> value;
  /// A buffer: what it holds before each launch.
  bool isBuffer = false;
  bool readOnly = false;
  Tensor contents;
  /// Element types that tensors lack are held as others of the same width: what
  /// .npy calls them ("<u4"), else empty.
  std::string npyType;
  std::string output; ///< A file; empty for none.
};

/// Reads files and draws; refuses what does not fit the kernel's parameters.
Result<std::vector<SimArgument>>
parseSimArguments(const std::vector<std::string> &texts,
                  const sim::ptx::Function &kernel, uint64_t seed);

/// The bytes a parameter takes, and how PTX declares it: "u32 count",
/// "b8 map[128]".
uint64_t parameterBytes(const sim::ptx::Variable &parameter);
std::string describe(const sim::ptx::Variable &parameter);

/// Writes a buffer's contents after a launch, beside others.
Result<void> addSimOutput(AtomicFiles &files, const SimArgument &argument,
                          const Tensor &contents);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_SIMARGUMENTS_H
