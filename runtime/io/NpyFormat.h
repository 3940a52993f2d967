//===- NpyFormat.h - The bytes of .npy files --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_NPYFORMAT_H
#define QUERN_IO_NPYFORMAT_H

#include "quern/tensor.h"

namespace quern {
inline namespace v0 {

/// Parses and checks a whole file; the message does not name it.
Result<Tensor> parseNpy(std::span<const std::byte> file);

} // namespace v0
} // namespace quern

#endif // QUERN_IO_NPYFORMAT_H
