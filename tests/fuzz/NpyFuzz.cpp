//===- NpyFuzz.cpp - Any bytes as a .npy file -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/NpyFormat.h"
#include "tests/fuzz/Fuzz.h"

using namespace quern;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto tensor = parseNpy(std::as_bytes(std::span(data, size)));
  if (tensor)
    fuzz::require(tensor->bytes() <= size,
                  "a tensor is no larger than its file");
  else
    fuzz::require(!tensor.error().message.empty(), "a refusal says why");
  return 0;
}
