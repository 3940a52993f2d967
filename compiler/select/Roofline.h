//===- Roofline.h - What bounds a kernel ------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The roofline model of a kernel: it takes at least as long as moving the bytes
// that memory has to move (every buffer once), and as long as its arithmetic.
// The longer of the two is its bound; the operations per byte at which both are
// equal is the ridge. Multiply-adds count as two operations, each of the other
// operations as one; those of matrix units and of ordinary ones run side by
// side.
//
// Rates are figures, not measurements: those the cost model of placements takes
// (CpuPlacement.h, CudaPlacement.h), for the device that CudaTarget.h names.
//
// Units: bytes, operations, microseconds.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_ROOFLINE_H
#define QUERN_COMPILER_SELECT_ROOFLINE_H

#include "compiler/select/Traffic.h"

#include <algorithm>

namespace quern::select {

/// What a machine does at most, per microsecond.
struct Peaks {
  std::string machine; ///< In words, with where the figures come from.
  double bytes = 1;
  double operations8 = 1;  ///< Of products of 8-bit elements.
  double operations16 = 1; ///< Of 16-bit elements.
  double scalar = 1;       ///< Other operations.

  double operations(const KernelTraffic &kernel) const {
    return kernel.elementBytes > 1 ? operations16 : operations8;
  }
};

struct Roofline {
  double bytes = 0, operations = 0;
  double memoryTime = 0, arithmeticTime = 0; ///< Microseconds.
  /// What the arithmetic side allows for this mix, per microsecond.
  double peakOperations = 0;

  double intensity() const { return bytes > 0 ? operations / bytes : 0; }
  bool boundByMemory() const { return memoryTime >= arithmeticTime; }
  double time() const { return std::max(memoryTime, arithmeticTime); }
};

inline Roofline rooflineOf(const KernelTraffic &kernel, const Peaks &peaks) {
  Roofline roof;
  double products = 2 * kernel.multiplyAdds;
  roof.bytes = kernel.leastBytes();
  roof.operations = products + kernel.scalarOps;
  roof.memoryTime = roof.bytes / peaks.bytes;
  roof.arithmeticTime = std::max(products / peaks.operations(kernel),
                                 kernel.scalarOps / peaks.scalar);
  roof.peakOperations = roof.arithmeticTime > 0
                            ? roof.operations / roof.arithmeticTime
                            : peaks.scalar;
  return roof;
}

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_ROOFLINE_H
