//===- quern.h - Compile, load and run quantized layers ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The embedded runtime. A layer comes from its text (`compileFile`) or from a
// module made earlier (`load`):
//
//     auto layer = quern::compileFile("swiglu.qn", {.target = "cpu"});
//     auto weights = layer->bindWeights({gate, up, down});
//     auto context = layer->makeContext(*weights, {{"M", 1, 512}});
//     auto done = context->run({x}, {y});
//
// or, for a single call that binds, allocates and runs: `layer->call({...})`.
//
// Four kinds of object, in the order of their lifetimes:
//
//   Layer    compiled code bound to a device. Immutable; copies share it; any
//            number of threads may use it at once.
//   Weights  one set of weights in the layout the code wants, packed once.
//            Immutable; shared by any number of contexts. One layer may have
//            many (the blocks of a network share one code).
//   Context  the memory of one run in flight, sized for ranges of the layer's
//            symbols. One run at a time; contexts are independent.
//   run      launches only. It does not compile, allocate, or wait for a
//            device, unless operands in host memory must be copied to one (see
//            `Context::run`), and refuses symbol values the context was not
//            prepared for.
//
// Symbols (`M`) get their values from the shapes passed in. Operands are named
// as in the layer's text; a quantized one has two parts, `w.codes` and
// `w.scales`. Views with a name are matched by it, views without by position
// among the inputs (weights, outputs).
//
// State that a layer updates (`inout amax: f32[1, 1]`) is an input and an
// output of one name: what it was before a run, and what it is after. Both may
// be the same memory, in which it is then updated, or different ones.
//
// Errors are values (`Result<T>`): nothing prints or aborts, and what returns a
// Result throws nothing, not even for want of memory (Errc::OutOfMemory).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_QUERN_H
#define QUERN_QUERN_H

#include "quern/executor.h"
#include "quern/tensor.h"
#include "runtime/core/Target.h"

#include <string>
#include <vector>

namespace quern {
inline namespace v0 {

/// A symbol of a layer and what values it accepts.
struct Symbol {
  std::string name;
  int64_t min = 0;
  int64_t max = 0;
  int64_t multiple = 1;
};

/// A range of a symbol's values, both ends included.
struct SymbolRange {
  std::string name;
  int64_t min = 0;
  int64_t max = 0;
};

/// One buffer of a layer's signature.
struct Operand {
  enum class Role : uint8_t { Input, Weight, Output };
  std::string name; ///< "x", "w.codes", "w.scales".
  Role role = Role::Input;
  DType dtype = DType::F32;
  std::vector<std::string> shape; ///< "4096", "M", "ceildiv(M, 128)".
  unsigned deviceAlignment = 0;   ///< Of addresses with Memory::Device.
};

enum class WeightMemory : uint8_t {
  Copy,   ///< What runs still read of the weights is copied.
  Borrow, ///< The caller keeps the elements alive and unchanged.
};

namespace detail {
struct LayerState;
struct WeightsState;
struct ContextState;
struct LayerAccess;
} // namespace detail

class QUERN_API Weights {
public:
  Weights() = default; ///< None: for layers without weights.

private:
  friend class Layer;
  friend class Context;
  std::shared_ptr<const detail::WeightsState> state;
};

class QUERN_API Context {
public:
  Context(Context &&) noexcept;
  Context &operator=(Context &&) noexcept;
  ~Context();

  /// Runs the layer. On the CPU it returns when the outputs are written. On
  /// CUDA with device addresses it only enqueues on `stream` (a CUstream; null
  /// for the context's own, see `synchronize`); operands in host memory are
  /// copied and the call then waits. The device memory for such a copy is
  /// allocated in the first run that needs it, for the largest size the context
  /// was prepared for, and kept: a host that passes device addresses never pays
  /// for it.
  ///
  /// Outputs must not overlap each other or any input, but that state may be
  /// updated in place: the output is then exactly the input of its name. A
  /// second call while one
  /// is in flight on another thread is refused. What was enqueued uses the
  /// context's memory: runs on different streams must be ordered by the caller,
  /// and the context must live until they are done.
  Result<void> run(TensorList inputs, TensorList outputs,
                   void *stream = nullptr);

  /// Waits for what this context enqueued on its own stream.
  Result<void> synchronize();

  /// Uses other weights from the next run on; allocates nothing. Keep the old
  /// ones until what was enqueued with them is done. Refused during a run.
  Result<void> setWeights(const Weights &weights);

  /// Memory held for intermediates and per-thread scratch.
  uint64_t arenaBytes() const;
  uint64_t scratchBytes() const;

private:
  friend class Layer;
  explicit Context(std::unique_ptr<detail::ContextState> state);
  std::unique_ptr<detail::ContextState> state;
};

class QUERN_API Layer {
public:
  const std::string &name() const;
  /// The code in use, such as "cpu:avx512-vnni".
  const std::string &target() const;
  const std::vector<Symbol> &symbols() const;
  /// Inputs, weights and outputs in declared order.
  const std::vector<Operand> &operands() const;

  /// Packs a set of weights.
  Result<Weights> bindWeights(TensorList weights,
                              WeightMemory memory = WeightMemory::Copy) const;

  /// Allocates for every value in `ranges`; a symbol without a range gets its
  /// declared one, which must then be finite.
  Result<Context> makeContext(const Weights &weights = {},
                              std::span<const SymbolRange> ranges = {}) const;
  Result<Context> makeContext(const Weights &weights,
                              std::initializer_list<SymbolRange> ranges) const {
    return makeContext(weights, std::span(ranges.begin(), ranges.size()));
  }

  /// The shape of an operand for these symbol values (min == max).
  Result<Shape> shapeOf(std::string_view operand,
                        std::span<const SymbolRange> values) const;

  /// Binds the weights, allocates the outputs and runs, once. `operands` are
  /// inputs and weights together, by name or in declared order.
  Result<std::vector<Tensor>> call(TensorList operands) const;

private:
  friend struct detail::LayerAccess;
  explicit Layer(std::shared_ptr<const detail::LayerState> state);
  std::shared_ptr<const detail::LayerState> state;
};

struct LoadOptions {
  std::string target = "cpu";
  /// CPU threads; null for one shared default executor.
  std::shared_ptr<Executor> executor;
};

/// A module from bytes or a file.
QUERN_API Result<Layer> load(std::span<const std::byte> module,
                             const LoadOptions &options = {});
QUERN_API Result<Layer> loadFile(const std::string &path,
                                 const LoadOptions &options = {});

struct CompileOptions {
  std::string target = "cpu";
  std::shared_ptr<Executor> executor;
  /// Settings of the compiler, each "name=value": "fuse=all" (the default) or
  /// "fuse=none", "layer=NAME" for a text with several layers, and
  /// "numerics=strict", the only mode there is; any other is refused.
  std::vector<std::string> settings;
  /// CPUs: the text of a record that `quern tune` wrote, of how products are
  /// cut into pieces; bits do not depend on it. Empty for none. A record of
  /// another level than the machine's is not used, nor are entries for products
  /// that the layer does not have: `quern explain --tuned` tells.
  std::string tuned;
  /// Folder of compiled modules; empty for the default ($QUERN_CACHE, else
  /// $XDG_CACHE_HOME/quern, else ~/.cache/quern).
  std::string cacheFolder;
  bool useCache = true;
  /// Path of libquern_compiler.so; empty for $QUERN_COMPILER, then beside this
  /// library and beside the executable, then the loader's search path.
  std::string compiler;
};

/// Compiles a layer, or takes it from the cache. CompilerMissing when it is not
/// cached and no compiler is installed. `name` appears in messages.
QUERN_API Result<Layer> compile(std::string_view source,
                                const CompileOptions &options = {},
                                std::string_view name = "<text>");
QUERN_API Result<Layer> compileFile(const std::string &path,
                                    const CompileOptions &options = {});
/// The same, but gives the module's bytes, to be stored and loaded later.
QUERN_API Result<std::vector<std::byte>>
compileModule(std::string_view source, const CompileOptions &options = {},
              std::string_view name = "<text>");

} // namespace v0
} // namespace quern

#endif // QUERN_QUERN_H
