//===- VariantChoice.h - Which variant of a module to run -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A module may hold code for several targets. A target that names a level or
// an architecture takes exactly that variant; one that does not takes the best
// that runs here. Refusals say what the module has and why it does not do.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_VARIANTCHOICE_H
#define QUERN_JIT_VARIANTCHOICE_H

#include "runtime/core/Target.h"
#include "runtime/module/Module.h"

namespace quern {
inline namespace v0 {
namespace detail {

/// For the CPU: of the variants whose features the machine has, the one that
/// uses most of them.
Result<size_t> chooseForCpu(const ModuleDesc &module, const Target &target);

/// For CUDA and the simulator, on a device of that compute capability: the
/// newest architecture that runs there, an 'a' one before the plain one.
Result<size_t> chooseForCuda(const ModuleDesc &module, const Target &target,
                             int capability);

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_VARIANTCHOICE_H
