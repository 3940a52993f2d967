//===- ProgramsMain.cpp - The CPU's tests on AArch64 ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Runs the tests of tests/cpu with kernels in the emulator: all element
// operations, encodings and products at their corner values, on the one level
// for AArch64.
//
//===----------------------------------------------------------------------===//

#include "tests/aarch64/Emulator.h"
#include "tests/cpu/CpuHarness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

using namespace quern;
using namespace quern::test;

namespace {
class EmulatedMachine final : public ForeignMachine {
public:
  explicit EmulatedMachine(Emulator &emulator) : emulator(emulator) {}

  cpugen::CpuTarget target() const override {
    return cpugen::CpuTarget::forLevel(cpugen::CpuLevel::AArch64DotProd);
  }

  std::string run(const Call &call) override {
    Result<int64_t> code = emulator.map(call.code.bytes);
    if (!code)
      return code.error().message;
    // A launch may name a buffer twice.
    std::vector<void *> places;
    for (size_t i = 0; i < call.buffers.size(); ++i) {
      void *place = nullptr;
      for (size_t j = 0; j < i; ++j)
        if (call.buffers[j].data() == call.buffers[i].data())
          place = places[j];
      if (!place) {
        Result<void *> fresh = copyIn(call.buffers[i]);
        if (!fresh)
          return fresh.error().message;
        place = *fresh;
      }
      places.push_back(place);
    }
    Result<void *> scratch = copyIn(call.scratch);
    if (!scratch)
      return scratch.error().message;
    Result<void> done =
        emulator.launch(*code, call.kernel, places, call.symbols, call.begin,
                        call.end, *scratch);
    for (size_t i = 0; i < places.size(); ++i) {
      std::memcpy(call.buffers[i].data(), places[i], call.buffers[i].size());
      emulator.release(places[i]);
    }
    emulator.release(*scratch);
    (void)emulator.unmap(*code);
    return done ? emulator.damage() : done.error().message;
  }

private:
  Result<void *> copyIn(std::span<std::byte> bytes) {
    Result<void *> place = emulator.allocate(bytes.size());
    if (place && !bytes.empty())
      std::memcpy(*place, bytes.data(), bytes.size());
    return place;
  }

  Emulator &emulator;
};
} // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  Result<Emulator *> emulator = Emulator::get();
  if (!emulator) {
    fmt::print(stderr, "{}\n", emulator.error().render());
    return 1;
  }
  EmulatedMachine machine(**emulator);
  foreignMachine = &machine;
  return RUN_ALL_TESTS();
}
