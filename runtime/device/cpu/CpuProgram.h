//===- CpuProgram.h - CPU code, loaded --------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CPU_CPUPROGRAM_H
#define QUERN_DEVICE_CPU_CPUPROGRAM_H

#include "runtime/device/Device.h"

namespace quern {
inline namespace v0 {
namespace cpu {

/// Maps a CPU variant's images and finds its kernels. Refuses a variant whose
/// features the machine lacks, naming the first.
Result<std::shared_ptr<Program>>
loadProgram(const VariantDesc &variant, std::string_view layer,
            std::shared_ptr<Executor> executor);

} // namespace cpu
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_CPUPROGRAM_H
