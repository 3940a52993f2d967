//===- Report.h - What is known of a layer beside its code ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What `quern explain` tells of a compilation that a module does not hold: the
// layer's operations as a graph, the way of every scale from its type to the
// kernels that apply it, and what is predicted for given sizes. Plain structs,
// filled when a request asks for predictions (Compiler.h).
//
// Sizes are a value per symbol of the module, in their order. Times are
// microseconds.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_PIPELINES_REPORT_H
#define QUERN_COMPILER_PIPELINES_REPORT_H

#include "compiler/select/Roofline.h"
#include "compiler/select/Traffic.h"

#include <cstdint>
#include <string>
#include <vector>

namespace quern {

/// The layer as it was written.
struct LayerGraph {
  struct Node {
    enum class Kind : uint8_t { Input, Weight, Operation, Output } kind;
    std::string label; ///< "quantize", "x"
    std::string name;  ///< What the text calls its result; maybe empty.
    std::string type;  ///< "i8[M, 4096] * f32[M, 1]"
    std::string klass; ///< Of an operation: exact, ordered or bounded.
    unsigned line = 0; ///< 0 where the text has none.
    std::vector<uint32_t> inputs; ///< Nodes before it.
  };
  std::vector<Node> nodes; ///< Each after its inputs.
};

/// One buffer of scales or zero points, and everything that touches it.
struct ScalePath {
  std::string buffer; ///< "w_up.scales"
  std::string owner;  ///< "w_up"
  std::string type;   ///< Of the owner, as its formula.
  bool isDynamic = false;
  struct Use {
    uint32_t launch = 0; ///< By LayerReport::launches.
    uint32_t stage = 0;  ///< Of the kernel, from 0.
    std::string text;    ///< "applied in the epilogue of the product"
  };
  std::vector<Use> uses;
};

/// What the kernels move and compute, for some sizes.
struct Prediction {
  std::vector<int64_t> sizes;
  std::string unknown;            ///< Why there is none.
  select::ProgramTraffic traffic; ///< A kernel for every launch.
};

struct LayerReport {
  LayerGraph graph;
  /// The kernels of the program's launches, in order: what `launch` and
  /// predictions are numbered by. The plan of a module has them in this order,
  /// but not by these numbers: a CPU's has others between them, which pack
  /// operands. There a kernel has this name; on a GPU, a hash of its text
  /// behind it.
  std::vector<std::string> launches;
  std::vector<ScalePath> scales;
  std::vector<Prediction> predictions;
  select::Peaks peaks;
};

} // namespace quern

#endif // QUERN_COMPILER_PIPELINES_REPORT_H
