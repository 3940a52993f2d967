//===- HostProgram.h - Programs whose memory the host can reach -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What programs share that run before the call returns, on memory that is the
// host's to read and write: copies are copies of bytes, and there is nothing to
// wait for. Where the memory comes from and how kernels run is up to them.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CPU_HOSTPROGRAM_H
#define QUERN_DEVICE_CPU_HOSTPROGRAM_H

#include "runtime/device/Device.h"

#include <cstring>

namespace quern {
inline namespace v0 {
namespace cpu {

class HostProgram : public Program {
public:
  Result<void *> makeStream() override { return nullptr; }
  void destroyStream(void *) override {}
  Result<void> synchronize(void *) override { return {}; }

  Result<void> copyIn(void *to, const void *from, uint64_t bytes,
                      void *) override {
    if (bytes)
      std::memcpy(to, from, bytes);
    return {};
  }
  Result<void> copyOut(void *to, const void *from, uint64_t bytes,
                       void *stream) override {
    return copyIn(to, from, bytes, stream);
  }
  Result<void> copyWithin(void *to, const void *from, uint64_t bytes,
                          void *stream) override {
    return copyIn(to, from, bytes, stream);
  }
  Result<void> zero(void *at, uint64_t bytes, void *) override {
    if (bytes)
      std::memset(at, 0, bytes);
    return {};
  }
};

} // namespace cpu
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CPU_HOSTPROGRAM_H
