//===- io.h - Tensors in files ----------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// NumPy's .npy for single arrays, and .safetensors for weights.
//
// npy     versions 1 to 3, row-major, little-endian, of bool, i8, u8, i32, i64,
//         f16 and f32. Fortran order, big-endian and other types are refused
//         with what to do. The format has no bf16 and no fp8: tensors of those
//         types are not written.
// safetensors   every rule of the format is checked when the file is opened:
//         header within bounds, no duplicate names, every tensor's bytes as its
//         type and shape say, all of them together covering the data without
//         hole or overlap. A tensor is read when it is first asked for, and
//         kept. Types Quern has no element type for (f64, fp4, ...) may be
//         in the file and are refused when asked for.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_IO_H
#define QUERN_IO_H

#include "quern/tensor.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace quern {
inline namespace v0 {

QUERN_API Result<Tensor> readNpy(const std::string &path);
QUERN_API Result<void> writeNpy(const std::string &path,
                                const TensorView &tensor);

/// An open file; cheap to copy. Views stay valid as long as one copy lives.
class QUERN_API SafeTensors {
public:
  struct Entry {
    std::string name;
    std::string type; ///< As in the file: "BF16".
    std::vector<int64_t> shape;
    uint64_t begin = 0; ///< In bytes, from the beginning of the data.
    uint64_t end = 0;
  };

  static Result<SafeTensors> open(const std::string &path);

  /// In the order of their data.
  const std::vector<Entry> &entries() const;
  const std::vector<std::pair<std::string, std::string>> &metadata() const;

  /// A tensor by name, read on the first call. The view has no name of its
  /// own.
  Result<TensorView> view(std::string_view name) const;

  /// The tensor as an operand of that type and shape, with the operand's name
  /// (which must outlive the view). A mismatch names both.
  Result<TensorView> bind(std::string_view name, std::string_view operand,
                          DType dtype, const Shape &shape) const;

private:
  struct State;
  std::shared_ptr<State> state;
};

} // namespace v0
} // namespace quern

#endif // QUERN_IO_H
