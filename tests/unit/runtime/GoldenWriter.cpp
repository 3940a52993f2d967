//===- GoldenWriter.cpp - Writes a golden module --------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For the day a new format is introduced: quern_golden_writer IMAGE OUT writes
// tests/golden/vN.qnm from the flat image of kernels.c. Old files stay.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

int main(int argc, char **argv) {
  using namespace quern::testing;
  if (argc != 3)
    return 2;
  std::vector<std::byte> bytes =
      goldenModule(readBytes(argv[1]), GoldenRuns::InStrips).serialize();
  std::ofstream out(argv[2], std::ios::binary);
  out.write(reinterpret_cast<const char *>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  return out ? 0 : 1;
}
