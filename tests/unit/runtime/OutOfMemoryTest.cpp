//===- OutOfMemoryTest.cpp - Every allocation fails once ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// An executable of its own, whose operator new can be told to fail. Each step
// from a module to a result is repeated with its first, second, third ...
// allocation failing, until it succeeds.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "quern/io.h"
#include "quern/quern.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <new>

using namespace quern;
using namespace quern::testing;

/// How many more allocations of this thread succeed; negative for all.
static thread_local int64_t allowed = -1;

// Not inlined: gcc would see malloc and delete, and warn of a mismatch.
[[gnu::noinline]] void *operator new(size_t size) {
  if (allowed == 0)
    throw std::bad_alloc();
  if (allowed > 0)
    --allowed;
  if (void *p = std::malloc(size ? size : 1))
    return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, size_t) noexcept {
  std::free(p);
}

namespace {

/// Repeats `step` until it has all the allocations it wants; gives how many
/// those are.
template <typename F> int64_t failEach(F &&step) {
  for (int64_t n = 0; n < 100000; ++n) {
    allowed = n;
    auto result = step();
    allowed = -1;
    if (result)
      return n;
    EXPECT_EQ(result.error().code, Errc::OutOfMemory)
        << "allocation " << n << ": " << result.error().render();
  }
  ADD_FAILURE() << "it never succeeds";
  return 0;
}

TEST(OutOfMemory, EveryStepReportsIt) {
  std::vector<std::byte> module =
      makeFakeModule(readBytes(QUERN_TEST_IMAGE)).serialize();
  LoadOptions options{"cpu", makeSerialExecutor()};
  EXPECT_GT(failEach([&] { return load(module, options); }), 10);
  Result<Layer> layer = load(module, options);
  ASSERT_TRUE(layer);

  std::vector<float> ones(8 * 3, 1.0f);
  Tensor x = std::move(*Tensor::fromFloats(DType::F32, {3, 8}, ones));
  Tensor w =
      std::move(*Tensor::fromFloats(DType::F32, {8}, std::span(ones).first(8)));
  Tensor y = std::move(*Tensor::zeros(DType::F32, {3, 8}));
  EXPECT_GT(failEach([&] { return layer->bindWeights({w}); }), 3);
  Result<Weights> weights = layer->bindWeights({w});
  ASSERT_TRUE(weights);
  EXPECT_GT(failEach([&] { return layer->makeContext(*weights); }), 3);
  Result<Context> context = layer->makeContext(*weights);
  ASSERT_TRUE(context);
  EXPECT_EQ(failEach([&] { return context->run({x}, {y}); }), 0);
  EXPECT_EQ(y.as<float>()[0], fakeExpected(1, 1, 0));
  EXPECT_GT(failEach([&] { return layer->call({x, w}); }), 10);
}

TEST(OutOfMemory, ErrorsThemselvesMayNotFit) {
  Tensor x = std::move(*Tensor::zeros(DType::F32, {2}));
  // The message of this refusal is longer than a string holds by itself.
  allowed = 0;
  Result<Tensor> refused =
      Tensor::fromFloats(DType::F32, {3}, x.as<const float>());
  allowed = -1;
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::OutOfMemory);
}

TEST(OutOfMemory, Files) {
  std::string path = (std::filesystem::path(::testing::TempDir()) /
                      "quern_out_of_memory_test_of_npy.npy")
                         .string();
  Tensor x = std::move(*Tensor::zeros(DType::F32, {4, 4}));
  EXPECT_GT(failEach([&] { return writeNpy(path, x); }), 0);
  EXPECT_GT(failEach([&] { return readNpy(path); }), 0);
  std::filesystem::remove(path);
}

TEST(OutOfMemory, OtherExceptionsAreErrorsToo) {
  struct Throwing final : Executor {
    unsigned threads() const override { return 1; }
    void parallelFor(int64_t, int64_t,
                     FunctionRef<void(int64_t, int64_t, unsigned)>) override {
      throw 42;
    }
  };
  Result<Layer> layer =
      load(makeFakeModule(readBytes(QUERN_TEST_IMAGE)).serialize(),
           {"cpu", std::make_shared<Throwing>()});
  ASSERT_TRUE(layer);
  Tensor w = std::move(*Tensor::zeros(DType::F32, {8}));
  auto bound = layer->bindWeights({w});
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code, Errc::Internal);
}

} // namespace
