//===- NpyFormat.h - The bytes of .npy files --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_NPYFORMAT_H
#define QUERN_IO_NPYFORMAT_H

#include "quern/tensor.h"
#include "runtime/io/AtomicFile.h"

namespace quern {
inline namespace v0 {

/// Parses and checks a whole file; the message does not name it.
Result<Tensor> parseNpy(std::span<const std::byte> file);

/// The bytes before the elements, in whole the file's beginning; Unsupported
/// for a type that the format lacks. The message does not name the file.
Result<std::string> npyHeader(DType dtype, const Shape &shape);

/// Writes a dense tensor in host memory beside others; see AtomicFile.h.
Result<void> addNpy(AtomicFiles &files, const std::string &path,
                    const TensorView &tensor);

} // namespace v0
} // namespace quern

#endif // QUERN_IO_NPYFORMAT_H
