//===- RunTest.cpp - Layers, weights, contexts, runs ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "quern/quern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

using namespace quern;
using namespace quern::testing;
using ::testing::HasSubstr;

// Counts every allocation of the process, to prove that runs make none.
static std::atomic<uint64_t> allocations{0};

// Not inlined: gcc would see malloc and delete, and warn of a mismatch.
[[gnu::noinline]] void *operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void *p = std::malloc(size ? size : 1))
    return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, size_t) noexcept {
  std::free(p);
}

namespace {

ModuleDesc fakeModule() { return makeFakeModule(readBytes(QUERN_TEST_IMAGE)); }

Layer loadFake(std::shared_ptr<Executor> executor = makeSerialExecutor(),
               ModuleDesc module = fakeModule()) {
  Result<Layer> layer = load(module.serialize(), {"cpu", std::move(executor)});
  if (!layer) {
    ADD_FAILURE() << layer.error().render();
    std::exit(1);
  }
  return *layer;
}

Tensor ramp(Shape shape, float start, float step, std::string name = {}) {
  Result<Tensor> t = Tensor::zeros(DType::F32, shape, std::move(name));
  float value = start;
  for (float &v : t->as<float>())
    v = value, value += step;
  return std::move(*t);
}

void expectFake(const Tensor &x, const Tensor &w, const Tensor &y) {
  int64_t M = x.shape()[0], K = x.shape()[1];
  for (int64_t m = 0; m < M; ++m)
    for (int64_t k = 0; k < K; ++k)
      ASSERT_EQ(y.as<float>()[m * K + k],
                fakeExpected(x.as<float>()[m * K + k], w.as<float>()[k], m))
          << m << ", " << k;
}

template <typename T>
void expectError(const Result<T> &result, const char *part,
                 Errc code = Errc::InvalidArgument) {
  ASSERT_FALSE(result) << "expected: " << part;
  EXPECT_THAT(result.error().render(), HasSubstr(part));
  EXPECT_EQ(result.error().code, code);
}

TEST(Run, CallComputes) {
  Layer layer = loadFake();
  for (int64_t M : {1, 2, 5, 64})
    for (int64_t K : {4, 32}) {
      Tensor x = ramp({M, K}, -3, 0.25), w = ramp({K}, 0.5, 0.125);
      Result<std::vector<Tensor>> y = layer.call({x, w});
      ASSERT_TRUE(y) << y.error().render();
      ASSERT_EQ(y->size(), 1u);
      EXPECT_EQ((*y)[0].name(), "y");
      expectFake(x, w, (*y)[0]);
    }
}

TEST(Run, NoRowsIsLegal) {
  Layer layer = loadFake();
  Tensor x = ramp({0, 8}, 0, 1), w = ramp({8}, 1, 1);
  Result<std::vector<Tensor>> y = layer.call({x, w});
  ASSERT_TRUE(y) << y.error().render();
  EXPECT_EQ((*y)[0].shape(), Shape({0, 8}));
  // A view without elements needs no address.
  y = layer.call({TensorView(DType::F32, {0, 8}, nullptr), w});
  EXPECT_TRUE(y) << y.error().render();
}

TEST(Run, SignatureIsPrinted) {
  Layer layer = loadFake();
  EXPECT_EQ(layer.name(), "fake");
  EXPECT_EQ(layer.target(), "cpu:generic");
  ASSERT_EQ(layer.operands().size(), 3u);
  EXPECT_EQ(layer.operands()[1].name, "w");
  EXPECT_EQ(layer.operands()[1].role, Operand::Role::Weight);
  EXPECT_THAT(layer.operands()[2].shape, ::testing::ElementsAre("M", "K"));
  EXPECT_EQ(
      *layer.shapeOf("y", std::vector<SymbolRange>{{"M", 7, 7}, {"K", 8, 8}}),
      Shape({7, 8}));
  expectError(layer.shapeOf("y", std::vector<SymbolRange>{{"M", 7, 7}}),
              "needs a value for K");
}

TEST(Run, ThreadsChangeNothing) {
  Tensor x = ramp({61, 32}, -3, 0.37f), w = ramp({32}, 0.3f, 0.21f);
  Layer serial = loadFake();
  Result<std::vector<Tensor>> expected = serial.call({x, w});
  ASSERT_TRUE(expected);
  for (unsigned threads : {2u, 3u, 16u}) {
    Layer layer = loadFake(makeExecutor(threads));
    for (int repeat = 0; repeat < 20; ++repeat) {
      Result<std::vector<Tensor>> y = layer.call({x, w});
      ASSERT_TRUE(y) << y.error().render();
      ASSERT_EQ(
          std::memcmp((*y)[0].data(), (*expected)[0].data(), (*y)[0].bytes()),
          0);
    }
  }
}

TEST(Run, OneContextServesItsRange) {
  Layer layer = loadFake();
  Tensor w = ramp({16}, 1, 0.5);
  Result<Weights> weights = layer.bindWeights({w});
  ASSERT_TRUE(weights) << weights.error().render();
  Result<Context> context = layer.makeContext(*weights, {{"M", 0, 20}});
  ASSERT_TRUE(context) << context.error().render();
  // t0 and t1 live at once, then t1 and t2: two of the three share.
  EXPECT_EQ(context->arenaBytes(), 2 * 20 * 16 * sizeof(float));
  EXPECT_GE(context->scratchBytes(), 16 * sizeof(float));
  for (int64_t M : {20, 1, 0, 7, 20}) {
    Tensor x = ramp({M, 16}, 1, 1), y = ramp({M, 16}, 0, 0);
    Result<void> done = context->run({x}, {y});
    ASSERT_TRUE(done) << done.error().render();
    expectFake(x, w, y);
  }
  Tensor x = ramp({21, 16}, 1, 1), y = ramp({21, 16}, 0, 0);
  expectError(context->run({x}, {y}),
              "M = 21 is outside 0..20, for which the context was prepared");
}

TEST(Run, LaunchesHappenInTheirRange) {
  ModuleDesc module = fakeModule();
  VariantDesc &v = module.variants[0];
  addRange(v, 8);
  // Of more than 8 rows, only the first product is returned.
  v.launches.resize(6);
  v.launches[5].buffers[2] = 2;
  Layer layer = loadFake(makeSerialExecutor(), module);
  Tensor w = ramp({16}, 1, 0.5);
  Result<Weights> weights = layer.bindWeights({w});
  ASSERT_TRUE(weights);
  Result<Context> context = layer.makeContext(*weights);
  ASSERT_TRUE(context) << context.error().render();
  for (int64_t M : {8, 9, 0, 64, 3}) {
    Tensor x = ramp({M, 16}, 1, 1), y = ramp({M, 16}, 0, 0);
    Result<void> done = context->run({x}, {y});
    ASSERT_TRUE(done) << done.error().render();
    if (M <= 8) {
      expectFake(x, w, y);
      continue;
    }
    for (int64_t i = 0; i < M * 16; ++i)
      ASSERT_EQ(y.as<float>()[i], x.as<float>()[i] * w.as<float>()[i % 16]);
  }
}

TEST(Run, MemoryIsThatOfTheRangesThatHappen) {
  ModuleDesc module = fakeModule();
  addRange(module.variants[0], 8);
  Layer layer = loadFake(makeSerialExecutor(), module);
  Tensor w = ramp({16}, 1, 0.5);
  Result<Weights> weights = layer.bindWeights({w});
  ASSERT_TRUE(weights);
  auto arena = [&](int64_t min, int64_t max) {
    Result<Context> context = layer.makeContext(*weights, {{"M", min, max}});
    return context ? context->arenaBytes() : 0;
  };
  // Two ranges never happen together, and each takes what it takes alone.
  const uint64_t row = 16 * sizeof(float);
  EXPECT_EQ(arena(0, 64), 2 * 64 * row);
  EXPECT_EQ(arena(0, 8), 2 * 8 * row);
  EXPECT_EQ(arena(9, 20), 2 * 20 * row);
  // Of the launches for more rows, nothing is asked where they cannot happen.
  for (size_t i = 5; i < 9; ++i)
    module.variants[0].launches[i].items =
        SymExpr::ceilDiv(SymExpr::constant(1), SymExpr::constant(0));
  layer = loadFake(makeSerialExecutor(), module);
  weights = layer.bindWeights({w});
  ASSERT_TRUE(weights);
  Result<Context> context = layer.makeContext(*weights);
  ASSERT_TRUE(context);
  Tensor x = ramp({8, 16}, 1, 1), y = ramp({8, 16}, 0, 0);
  EXPECT_TRUE(context->run({x}, {y}));
  expectFake(x, w, y);
  Tensor more = ramp({9, 16}, 1, 1), result = ramp({9, 16}, 0, 0);
  expectError(context->run({more}, {result}), "divi");
}

TEST(Run, ManyRowsAreRunInStrips) {
  ModuleDesc module = fakeModule();
  module.symbols[0].max = 1 << 20;
  Layer whole = loadFake(makeSerialExecutor(), module);
  module.variants[0].rowSymbol = 0;
  Layer layer = loadFake(makeSerialExecutor(), module);
  Tensor w = ramp({32}, 0.5, 0.125);
  Result<Weights> weights = layer.bindWeights({w});
  ASSERT_TRUE(weights) << weights.error().render();
  // Two of three temporaries at once, 256 bytes a row.
  constexpr int64_t fitting = 12000, many = 40001;
  Result<Weights> others = whole.bindWeights({w});
  ASSERT_TRUE(others) << others.error().render();
  Result<Context> all = whole.makeContext(*others, {{"M", many, many}});
  ASSERT_TRUE(all) << all.error().render();
  EXPECT_GE(all->arenaBytes(), uint64_t{many} * 256);
  Result<Context> context = layer.makeContext(*weights, {{"M", 0, many}});
  ASSERT_TRUE(context) << context.error().render();
  EXPECT_LE(context->arenaBytes() + context->scratchBytes(), 4u << 20);
  EXPECT_GE(context->arenaBytes(), uint64_t{fitting} * 256);
  for (int64_t M : {int64_t{0}, int64_t{1}, fitting, int64_t{20000}, many}) {
    Tensor x = ramp({M, 32}, -3, 0.0625),
           y = *Tensor::zeros(DType::F32, {M, 32});
    uint64_t before = allocations;
    Result<void> done = context->run({x}, {y});
    EXPECT_EQ(allocations, before);
    ASSERT_TRUE(done) << done.error().render();
    expectFake(x, w, y);
  }
}

TEST(Run, StateIsZeroWhereItIsUsed) {
  // The last temporary of each range is state: zeroed before the first launch
  // of that range, and in the other one's memory.
  ModuleDesc module = fakeModule();
  VariantDesc &v = module.variants[0];
  addRange(v, 8);
  for (uint32_t b : {6, 9})
    v.buffers[b].role = BufferRole::State;
  // What the last launch reads is never written: zeros.
  for (LaunchDesc &l : v.launches)
    if (l.buffers.size() == 2 && l.buffers[1] == 6)
      l.buffers[1] = 5;
    else if (l.buffers.size() == 2 && l.buffers[1] == 9)
      l.buffers[1] = 8;
  Layer layer = loadFake(makeSerialExecutor(), module);
  Tensor w = ramp({16}, 1, 0.5);
  Result<Weights> weights = layer.bindWeights({w});
  ASSERT_TRUE(weights);
  Result<Context> context = layer.makeContext(*weights);
  ASSERT_TRUE(context) << context.error().render();
  // Three are alive from the first launch on, of the one range or the other.
  EXPECT_EQ(context->arenaBytes(), 3 * 64 * 16 * sizeof(float));
  for (int64_t M : {64, 8, 9, 3}) {
    Tensor x = ramp({M, 16}, 1, 1), y = ramp({M, 16}, 0, 0);
    ASSERT_TRUE(context->run({x}, {y}));
    for (int64_t i = 0; i < M * 16; ++i)
      ASSERT_EQ(y.as<float>()[i], 0.5f + float(i / 16 % 4)) << M << ", " << i;
  }
  Result<Context> few = layer.makeContext(*weights, {{"M", 0, 8}});
  ASSERT_TRUE(few);
  EXPECT_EQ(few->arenaBytes(), 3 * 8 * 16 * sizeof(float));
}

TEST(Run, SizesWithoutLaunchesAreRefused) {
  ModuleDesc module = fakeModule();
  addRange(module.variants[0], 8);
  module.variants[0].launches.resize(5); // Those for up to 8 rows.
  Layer layer = loadFake(makeSerialExecutor(), module);
  Tensor w = ramp({16}, 1, 0.5), x = ramp({9, 16}, 1, 1);
  expectError(layer.call({x, w}), "has no launches for these sizes",
              Errc::InvalidFile);
}

TEST(Run, AllocatesNothing) {
  Layer layer = loadFake();
  Tensor w = ramp({16}, 1, 0.5);
  Result<Weights> weights = layer.bindWeights({w});
  Result<Context> context = layer.makeContext(*weights, {{"M", 1, 20}});
  ASSERT_TRUE(context) << context.error().render();
  Tensor x1 = ramp({3, 16}, 1, 1, "x"), y1 = ramp({3, 16}, 0, 0, "y");
  Tensor x2 = ramp({20, 16}, 1, 1), y2 = ramp({20, 16}, 0, 0);
  uint64_t before = allocations.load();
  bool ok = true;
  for (int i = 0; i < 10; ++i) {
    ok &= bool(context->run({x1}, {y1}));
    ok &= bool(context->run({x2}, {y2}));
    ok &= bool(context->setWeights(*weights));
  }
  uint64_t after = allocations.load();
  EXPECT_TRUE(ok);
  EXPECT_EQ(before, after);
  expectFake(x2, w, y2);
}

TEST(Run, WeightsAreCopiedOrBorrowed) {
  // A layer whose runs read w itself: no packing.
  ModuleDesc module = fakeModule();
  VariantDesc &v = module.variants[0];
  v.launches.erase(v.launches.begin());
  for (LaunchDesc &l : v.launches)
    for (uint32_t &b : l.buffers)
      b = b == 3 ? 1 : b; // From "packed" to "w", which then acts reversed.
  Layer layer = loadFake(makeSerialExecutor(), module);
  Tensor w = ramp({4}, 1, 0), x = ramp({1, 4}, 1, 0), y = ramp({1, 4}, 0, 0);
  Result<Weights> copied = layer.bindWeights({w});
  Result<Weights> borrowed = layer.bindWeights({w}, WeightMemory::Borrow);
  ASSERT_TRUE(copied && borrowed);
  Result<Context> context = layer.makeContext(*copied);
  ASSERT_TRUE(context);
  for (float &v : w.as<float>())
    v = 3;
  ASSERT_TRUE(context->run({x}, {y}));
  EXPECT_EQ(y.as<float>()[0], 2.0f);
  ASSERT_TRUE(context->setWeights(*borrowed));
  ASSERT_TRUE(context->run({x}, {y}));
  EXPECT_EQ(y.as<float>()[0], 10.0f);
  TensorView overlapping(DType::F32, {1, 4}, w.data());
  expectError(context->run({x}, {overlapping}), "overlaps a borrowed weight");
}

TEST(Run, TwoWeightSetsShareALayer) {
  Layer layer = loadFake();
  Tensor a = ramp({8}, 1, 0.5), b = ramp({8}, -2, 0.25);
  Result<Weights> wa = layer.bindWeights({a}), wb = layer.bindWeights({b});
  ASSERT_TRUE(wa && wb);
  Result<Context> context = layer.makeContext(*wa, {{"M", 1, 4}});
  ASSERT_TRUE(context);
  Tensor x = ramp({4, 8}, 1, 1), y = ramp({4, 8}, 0, 0);
  ASSERT_TRUE(context->run({x}, {y}));
  expectFake(x, a, y);
  ASSERT_TRUE(context->setWeights(*wb));
  ASSERT_TRUE(context->run({x}, {y}));
  expectFake(x, b, y);
  Tensor c = ramp({12}, 1, 1);
  Result<Weights> wc = layer.bindWeights({c});
  expectError(context->setWeights(*wc), "the weights give K = 12");
}

TEST(Run, ContextsRunAtOnce) {
  Layer layer = loadFake(makeExecutor(4));
  Tensor w = ramp({32}, 1, 0.5);
  Result<Weights> weights = layer.bindWeights({w});
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Result<Context> context = layer.makeContext(*weights, {{"M", 1, 64}});
      Tensor x = ramp({64, 32}, float(t), 0.5), y = ramp({64, 32}, 0, 0);
      for (int i = 0; i < 50; ++i) {
        if (!context->run({x}, {y}))
          ++wrong;
        for (int64_t k = 0; k < 64 * 32; ++k)
          wrong +=
              y.as<float>()[k] !=
              fakeExpected(x.as<float>()[k], w.as<float>()[k % 32], k / 32);
      }
    });
  for (std::thread &t : threads)
    t.join();
  EXPECT_EQ(wrong.load(), 0);
}

/// Runs one range only when told, to hold a run in flight.
class HeldExecutor final : public Executor {
public:
  std::atomic<bool> entered{false}, release{false};
  unsigned threads() const override { return 1; }
  void
  parallelFor(int64_t items, int64_t,
              FunctionRef<void(int64_t, int64_t, unsigned)> body) override {
    entered = true;
    while (!release)
      std::this_thread::yield();
    body(0, items, 0);
  }
};

TEST(Run, SecondRunInOneContextIsRefused) {
  auto executor = std::make_shared<HeldExecutor>();
  executor->release = true; // For binding.
  Layer layer = loadFake(executor);
  Tensor w = ramp({4}, 1, 1), x = ramp({1, 4}, 1, 1), y = ramp({1, 4}, 0, 0);
  Result<Weights> weights = layer.bindWeights({w});
  Result<Context> context = layer.makeContext(*weights);
  ASSERT_TRUE(context);
  executor->release = false;
  executor->entered = false;
  std::thread first([&] { EXPECT_TRUE(context->run({x}, {y})); });
  while (!executor->entered)
    std::this_thread::yield();
  expectError(context->run({x}, {y}), "a run of layer 'fake' is in flight");
  expectError(context->setWeights(*weights), "change weights between runs");
  executor->release = true;
  first.join();
  EXPECT_TRUE(context->setWeights(*weights));
  EXPECT_TRUE(context->run({x}, {y}));
}

/// Claims a worker it does not have.
class StrayExecutor final : public Executor {
public:
  unsigned threads() const override { return 2; }
  void
  parallelFor(int64_t items, int64_t,
              FunctionRef<void(int64_t, int64_t, unsigned)> body) override {
    body(0, items, 5);
  }
};

TEST(Run, StrayWorkersAreRefused) {
  Layer layer = loadFake(std::make_shared<StrayExecutor>());
  expectError(layer.bindWeights({ramp({4}, 1, 1)}),
              "the executor has 2 threads and called worker 5");
}

TEST(Run, OperandErrorsNameEverything) {
  Layer layer = loadFake();
  Tensor x = ramp({2, 8}, 0, 1), w = ramp({8}, 0, 1);
  expectError(layer.call({x}), "weight 'w' is missing");
  expectError(layer.call({x, w, w}), "takes 2 operands here, 3 were given");
  Tensor other = ramp({8}, 0, 1, "v");
  expectError(layer.call({x, other}), "no operand 'v' here");
  expectError(layer.call({x, other}), "accepted are: x, w");
  Tensor again = ramp({2, 8}, 0, 1, "x");
  expectError(layer.call({x, again}), "input 'x' was given twice");
  expectError(layer.call({x, ramp({7}, 0, 1)}),
              "weight 'w' has 7 in dimension 0, expected 8");
  expectError(layer.call({x, ramp({7}, 0, 1)}),
              "here K = 8 (dimension 1 of input 'x')");
  expectError(layer.call({x, ramp({8, 1}, 0, 1)}),
              "weight 'w' has shape [8, 1] of rank 2, expected rank 1");
  Result<Tensor> half = Tensor::zeros(DType::F16, {2, 8});
  expectError(layer.call({*half, w}),
              "input 'x' has element type f16, expected f32");
  expectError(layer.call({ramp({65, 8}, 0, 1), w}),
              "M = 65 (dimension 0 of input 'x') is outside 0..64");
  expectError(layer.call({ramp({2, 6}, 0, 1), ramp({6}, 0, 1)}),
              "K = 6 (dimension 1 of input 'x') is not a multiple of 4");
  expectError(layer.call({ramp({2, 6}, 0, 1), ramp({6}, 0, 1)}),
              "the nearest accepted: 4 and 8");
  expectError(layer.call({ramp({2, 3}, 0, 1), ramp({3}, 0, 1)}),
              "the nearest accepted: 4");
  Tensor named = ramp({2, 8}, 0, 1, "x.values");
  EXPECT_TRUE(layer.call({w, named}).operator bool() == false);
  w.setName("w");
  EXPECT_TRUE(layer.call({w, named}));
}

TEST(Run, StorageErrors) {
  Layer layer = loadFake();
  Tensor w = ramp({8}, 0, 1), big = ramp({64, 8}, 0, 1);
  TensorView x(DType::F32, {2, 8}, nullptr);
  expectError(layer.call({x, w}), "input 'x' has no address");
  x.data = static_cast<char *>(big.data()) + 2;
  expectError(layer.call({x, w}),
              "the address of input 'x' is not a multiple of 4 bytes");
  x.data = static_cast<char *>(big.data()) + 4;
  EXPECT_TRUE(layer.call({x, w}));
  x.strides = {16, 1};
  expectError(layer.call({x, w}), "strided operands are not supported");
  x.strides = {8, 1};
  EXPECT_TRUE(layer.call({x, w}));
  x.memory = Memory::Device;
  expectError(layer.call({x, w}), "is a device address");

  Result<Weights> weights = layer.bindWeights({w});
  Result<Context> context = layer.makeContext(*weights);
  TensorView in(DType::F32, {2, 8}, big.data());
  for (int64_t shift : {-15, -1, 0, 1, 15}) {
    TensorView out(DType::F32, {2, 8}, big.as<float>().data() + 16 + shift);
    in.data = big.as<float>().data() + 16;
    expectError(context->run({in}, {out}), "output 'y' overlaps input 'x'");
  }
  TensorView beside(DType::F32, {2, 8}, big.as<float>().data() + 32);
  EXPECT_TRUE(context->run({in}, {beside}));
}

TEST(Run, ContextErrors) {
  Layer layer = loadFake();
  expectError(layer.makeContext(), "has weights, and none are bound");
  Tensor w = ramp({8}, 0, 1);
  Result<Weights> weights = layer.bindWeights({w});
  expectError(layer.makeContext(*weights, {{"N", 1, 2}}), "has no symbol 'N'");
  expectError(layer.makeContext(*weights, {{"M", 1, 65}}),
              "1..65 for M is not a range within 0..64");
  expectError(layer.makeContext(*weights, {{"K", 12, 16}}),
              "the weights give K = 8, outside the range 12..16");
  Layer twin = loadFake();
  expectError(twin.makeContext(*weights), "bound by another layer");

  ModuleDesc module = fakeModule();
  module.symbols[0].max = INT64_MAX;
  Layer unbounded = loadFake(makeSerialExecutor(), module);
  weights = unbounded.bindWeights({w});
  expectError(unbounded.makeContext(*weights),
              "prepare the context for smaller ranges");
  EXPECT_TRUE(unbounded.makeContext(*weights, {{"M", 0, 1000}}));
}

TEST(Run, TargetIsChosen) {
  ModuleDesc module = fakeModule();
  VariantDesc odd = module.variants[0];
  odd.target = "cpu:future";
  odd.requiredFeatures = {"avx9000"};
  module.variants.push_back(odd);
  std::vector<std::byte> bytes = module.serialize();
  Result<Layer> layer = load(bytes);
  ASSERT_TRUE(layer) << layer.error().render();
  EXPECT_EQ(layer->target(), "cpu:generic");
  expectError(load(bytes, {"cpu:future", nullptr}),
              "needs the CPU feature avx9000", Errc::Unsupported);
  expectError(load(bytes, {"cpu:avx2", nullptr}), "it has code for cpu:generic",
              Errc::Unsupported);
  // Code of the other architecture, though it asks for nothing.
  VariantDesc &foreign = module.variants[1];
  foreign.target = "cpu:aarch64-dotprod";
  foreign.requiredFeatures.clear();
  expectError(load(module.serialize(), {foreign.target, nullptr}),
              "is for AArch64, and this machine is an x86-64",
              Errc::Unsupported);
  EXPECT_EQ(load(module.serialize())->target(), "cpu:generic");
  expectError(load(bytes, {"gpu", nullptr}), "unknown target 'gpu'");
  expectError(loadFile("/nonexistent/layer.qnm"), "cannot open the file",
              Errc::InvalidFile);
  expectError(loadFile("/"), "not a regular file", Errc::InvalidFile);
}

TEST(Run, SymbolsMustBeInferable) {
  ModuleDesc module = fakeModule();
  for (BufferDesc &b : module.variants[0].buffers)
    if (b.shape.size() == 2)
      b.shape[0] = SymExpr::ceilDiv(SymExpr::symbol(0), SymExpr::constant(2));
  expectError(load(module.serialize()), "symbol M cannot be inferred",
              Errc::Unsupported);
}

} // namespace
