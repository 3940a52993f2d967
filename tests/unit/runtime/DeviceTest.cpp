//===- DeviceTest.cpp - Executor, CPU features, code images ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "quern/executor.h"
#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cpu/CpuImage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace quern;
using namespace quern::testing;
using ::testing::HasSubstr;

namespace {

/// Runs and checks the contract of executor.h.
void checkExecutor(Executor &executor, int64_t items, int64_t grain) {
  std::mutex mutex;
  std::vector<int> seen(items);
  std::vector<std::atomic<int>> inside(executor.threads());
  bool ok = true;
  executor.parallelFor(
      items, grain, [&](int64_t begin, int64_t end, unsigned worker) {
        bool good = worker < executor.threads() && begin < end &&
                    begin % grain == 0 && (end % grain == 0 || end == items);
        good &= inside[worker].fetch_add(1) == 0;
        {
          std::lock_guard lock(mutex);
          ok &= good;
          for (int64_t i = begin; i < end; ++i)
            ++seen[i];
        }
        inside[worker].fetch_sub(1);
      });
  EXPECT_TRUE(ok) << items << " by " << grain;
  EXPECT_THAT(seen, ::testing::Each(1)) << items << " by " << grain;
}

TEST(Executors, CoverEveryItemOnce) {
  for (unsigned threads : {1u, 2u, 3u, 8u, 64u}) {
    auto executor = makeExecutor(threads);
    EXPECT_EQ(executor->threads(), threads);
    for (int64_t items : {0, 1, 2, 7, 8, 9, 31, 64, 1000})
      for (int64_t grain : {1, 3, 16, 2000})
        checkExecutor(*executor, items, grain);
  }
}

TEST(Executors, HugeCountsDoNotOverflow) {
  auto executor = makeExecutor(4);
  std::atomic<int64_t> sum{0};
  executor->parallelFor(
      INT64_MAX, 3,
      [&](int64_t begin, int64_t end, unsigned) { sum += end - begin; });
  EXPECT_EQ(sum.load(), INT64_MAX);
}

/// Two equally fast threads get the same number of grains, or one more.
TEST(Executors, PartsAreEvenAndTheirLastQuarterIsApart) {
  for (int64_t items : {9, 10, 44, 45, 47, 175})
    for (int64_t grain : {1, 4}) {
      std::mutex mutex;
      std::vector<std::pair<int64_t, int64_t>> ranges;
      makeExecutor(2)->parallelFor(items * grain - 1, grain,
                                   [&](int64_t begin, int64_t end, unsigned) {
                                     std::lock_guard lock(mutex);
                                     ranges.push_back({begin, end});
                                   });
      ASSERT_EQ(ranges.size(), 4u);
      std::sort(ranges.begin(), ranges.end());
      int64_t parts[2] = {};
      for (int part = 0; part < 2; ++part) {
        auto [begin, middle] = ranges[2 * part];
        auto [next, end] = ranges[2 * part + 1];
        EXPECT_EQ(middle, next);
        int64_t last = (end - next + grain - 1) / grain;
        parts[part] = (end - begin + grain - 1) / grain;
        EXPECT_EQ(last, std::max<int64_t>(parts[part] / 4, 1)) << items;
      }
      EXPECT_LE(std::abs(parts[0] - parts[1]), 1) << items;
    }
}

TEST(Executors, MayBeUsedFromManyThreadsAndNested) {
  auto executor = makeExecutor(3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i)
        checkExecutor(*executor, 100, 4);
    });
  for (std::thread &t : threads)
    t.join();
  std::atomic<int> total{0};
  executor->parallelFor(8, 1, [&](int64_t begin, int64_t end, unsigned) {
    for (int64_t i = begin; i < end; ++i)
      makeExecutor(2)->parallelFor(
          10, 1, [&](int64_t b, int64_t e, unsigned) { total += e - b; });
  });
  EXPECT_EQ(total.load(), 80);
}

TEST(Executors, DefaultUsesTheMachine) {
  EXPECT_GE(makeExecutor()->threads(), 1u);
  EXPECT_EQ(makeSerialExecutor()->threads(), 1u);
}

TEST(CpuFeatures, AgreeWithTheCompiler) {
#if defined(__x86_64__)
  // Two independent readings of cpuid.
  EXPECT_EQ(cpu::hostHas("avx2"), bool(__builtin_cpu_supports("avx2")));
  EXPECT_EQ(cpu::hostHas("fma"), bool(__builtin_cpu_supports("fma")));
  EXPECT_EQ(cpu::hostHas("f16c"), bool(__builtin_cpu_supports("f16c")));
  EXPECT_EQ(cpu::hostHas("avx512f"), bool(__builtin_cpu_supports("avx512f")));
  EXPECT_EQ(cpu::hostHas("avx512bw"), bool(__builtin_cpu_supports("avx512bw")));
  EXPECT_EQ(cpu::hostHas("avx512vnni"),
            bool(__builtin_cpu_supports("avx512vnni")));
  EXPECT_EQ(cpu::hostHas("avx512vbmi"),
            bool(__builtin_cpu_supports("avx512vbmi")));
  EXPECT_EQ(cpu::hostHas("avx512bf16"),
            bool(__builtin_cpu_supports("avx512bf16")));
  EXPECT_EQ(cpu::hostHas("avx512fp16"),
            bool(__builtin_cpu_supports("avx512fp16")));
  EXPECT_EQ(cpu::hostHas("avxvnni"), bool(__builtin_cpu_supports("avxvnni")));
  EXPECT_EQ(cpu::hostHas("gfni"), bool(__builtin_cpu_supports("gfni")));
  EXPECT_EQ(cpu::hostHas("bmi2"), bool(__builtin_cpu_supports("bmi2")));
  EXPECT_EQ(cpu::hostHas("sse4.2"), bool(__builtin_cpu_supports("sse4.2")));
  EXPECT_TRUE(cpu::hostHas("sse2"));
#endif
  EXPECT_FALSE(cpu::hostHas("avx9000"));
  std::vector<std::string> required = {"sse2", "avx9000", "x"};
  EXPECT_EQ(cpu::firstMissing(required), "avx9000");
  EXPECT_TRUE(std::ranges::is_sorted(cpu::hostFeatures()));
}

CodeDesc image() {
  CodeDesc code;
  code.bytes = readBytes(QUERN_TEST_IMAGE);
  code.symbols = {{"pack", 0}, {"scale", 0x800}};
  return code;
}

TEST(CpuImage, IsMappedReadAndExecuteOnly) {
  Result<cpu::CpuImage> mapped = cpu::CpuImage::map(image(), "layer/x");
  ASSERT_TRUE(mapped) << mapped.error().render();
  EXPECT_EQ(std::memcmp(mapped->address(), image().bytes.data(),
                        image().bytes.size()),
            0);
  EXPECT_EQ(mapped->find("nothing"), nullptr);
  EXPECT_EQ(reinterpret_cast<const char *>(mapped->find("scale")) -
                static_cast<const char *>(mapped->address()),
            0x800);
  std::ifstream maps("/proc/self/maps");
  std::string line, start = [&] {
    char text[32];
    std::snprintf(text, sizeof(text), "%lx-",
                  reinterpret_cast<unsigned long>(mapped->address()));
    return std::string(text);
  }();
  bool found = false;
  while (std::getline(maps, line))
    if (line.starts_with(start)) {
      found = true;
      EXPECT_THAT(line, HasSubstr(" r-xp "));
      EXPECT_THAT(line, HasSubstr("quern-layer/x"));
    }
  EXPECT_TRUE(found);
}

TEST(CpuImage, RunsAndIsUnmapped) {
  const void *address;
  {
    Result<cpu::CpuImage> mapped = cpu::CpuImage::map(image(), "t");
    ASSERT_TRUE(mapped);
    cpu::CpuImage moved = std::move(*mapped);
    address = moved.address();
    float w[3] = {1, 2, 3}, packed[3] = {};
    void *buffers[] = {w, packed};
    int64_t symbols[] = {0, 3};
    cpu::KernelArgs args{buffers, symbols};
    cpu::callKernel(moved.find("pack"), args, 0, 3, nullptr);
    EXPECT_THAT(packed, ::testing::ElementsAre(3, 2, 1));
  }
  std::ifstream maps("/proc/self/maps");
  std::string text{std::istreambuf_iterator<char>(maps), {}};
  char start[32];
  std::snprintf(start, sizeof(start), "%lx-",
                reinterpret_cast<unsigned long>(address));
  EXPECT_THAT(text, ::testing::Not(HasSubstr(std::string("\n") + start)));
}

TEST(CpuImage, BadImagesAreRefused) {
  CodeDesc code = image();
  code.symbols[0].offset = code.bytes.size();
  EXPECT_FALSE(cpu::CpuImage::map(code, "t"));
  code = image();
  code.bytes.clear();
  EXPECT_FALSE(cpu::CpuImage::map(code, "t"));
  code = image();
  code.kind = CodeKind::Ptx;
  EXPECT_FALSE(cpu::CpuImage::map(code, "t"));
}

} // namespace
