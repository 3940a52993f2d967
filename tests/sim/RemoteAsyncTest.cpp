//===- RemoteAsyncTest.cpp - st.async and red.async -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <algorithm>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class RemoteAsync : public testing::Test {
protected:
  RemoteAsync() : session(sim::SimTarget::Sm90a) {}

  cuda::DriverStatus run(const std::string &body, uint64_t seed) {
    EXPECT_TRUE(session.load(ptxSnippet(body,
                                        ".shared .align 16 .b8 tile[256];\n"
                                        ".shared .align 8 .b64 full;\n",
                                        "sm_90a")))
        << session.reportText();
    auto in = session.buffer("in", std::vector<uint32_t>(64, 5), true);
    out = session.buffer("out", std::vector<uint32_t>(256, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 3;
    options.watchdog = 1 << 20;
    session.setOptions(options);
    Session::Shape shape;
    shape.grid[0] = 2;
    shape.block[0] = 64;
    shape.cluster[0] = 2;
    shape.cluster[1] = shape.cluster[2] = 1;
    return session.launch("test", shape, in, out, 64u);
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// Both blocks combine 100 * rank + thread into the tile of block 1, which
// begins with 1000 everywhere; block 1 waits for the bytes and writes it out.
// Thread t of either block aims at word t / 2.
const char *const combine = R"(
    mov.u32 %r2, %cluster_ctarank;
    mov.u32 %r3, tile;
    shl.b32 %r4, %r0, 2;
    add.u32 %r5, %r3, %r4;
    mov.u32 %r6, 1000;
    st.shared.u32 [%r5], %r6;
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra READY;
    mbarrier.init.shared::cta.b64 [full], 1;
    setp.eq.u32 %p3, %r2, 0;
    @%p3 bra READY;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [full], 512;
READY:
    barrier.cluster.arrive.release.aligned;
    barrier.cluster.wait.acquire.aligned;
    shr.u32 %r7, %r0, 1;
    shl.b32 %r7, %r7, 2;
    add.u32 %r7, %r3, %r7;
    mapa.shared::cluster.u32 %r7, %r7, 1;
    mov.u32 %r8, full;
    mapa.shared::cluster.u32 %r8, %r8, 1;
    mad.lo.u32 %r9, %r2, 100, %r0;
    red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r7], %r9, [%r8];
    setp.eq.u32 %p1, %r2, 0;
    @%p1 bra DONE;
WAIT:
    mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [full], 0;
    @!%p2 bra WAIT;
    ld.shared.u32 %r10, [%r5];
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r10;
DONE:
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;)";

std::string combined(const std::string &op, uint32_t begin) {
  std::string body = replaced(combine, "add.u32 [%r7]", op + " [%r7]");
  body = replaced(body, "mov.u32 %r6, 1000;",
                  "mov.u32 %r6, " + std::to_string(begin) + ";");
  return body;
}

TEST_F(RemoteAsync, EveryReduction) {
  struct Form {
    const char *op;
    uint32_t begin;
    std::function<uint32_t(uint32_t, uint32_t)> apply;
  };
  const Form forms[] = {
      {"add.u32", 1000, [](uint32_t x, uint32_t y) { return x + y; }},
      {"add.s32", ~0u, [](uint32_t x, uint32_t y) { return x + y; }},
      {"min.u32", 50, [](uint32_t x, uint32_t y) { return std::min(x, y); }},
      {"max.s32", 50, [](uint32_t x, uint32_t y) { return std::max(x, y); }},
      {"and.b32", 0x55, [](uint32_t x, uint32_t y) { return x & y; }},
      {"or.b32", 0x55, [](uint32_t x, uint32_t y) { return x | y; }},
      {"xor.b32", 0x55, [](uint32_t x, uint32_t y) { return x ^ y; }},
  };
  for (const Form &form : forms)
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      ASSERT_EQ(run(combined(form.op, form.begin), seed), status::Success)
          << form.op << session.reportText();
      auto got = session.read<uint32_t>(out, 64);
      for (uint32_t i = 0; i < 64; ++i) {
        uint32_t expected = form.begin;
        if (i < 32)
          for (uint32_t from : {2 * i, 2 * i + 1})
            for (uint32_t rank : {0u, 1u})
              expected = form.apply(expected, 100 * rank + from);
        ASSERT_EQ(got[i], expected) << form.op << " " << i;
      }
    }
}

TEST_F(RemoteAsync, CountsWrapAround) {
  // inc: above the operand it starts at 0 again. All bring the same operand.
  std::string body =
      replaced(combined("inc.u32", 2), "mad.lo.u32 %r9, %r2, 100, %r0;",
               "mov.u32 %r9, 4;");
  ASSERT_EQ(run(body, 3), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 1)[0], 1u); // 3, 4, 0, 1
  body = replaced(body, "inc.u32", "dec.u32");
  ASSERT_EQ(run(body, 3), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 1)[0], 3u); // 1, 0, 4, 3
}

TEST_F(RemoteAsync, ReadingBeforeTheWaitIsARace) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    run(replaced(combined("add.u32", 1000), "@!%p2 bra WAIT;", ""), seed);
    EXPECT_THAT(session.reportText(), HasSubstr("race")) << seed;
  }
}

TEST_F(RemoteAsync, TheStartMustBeOrdered) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    run(replaced(combined("add.u32", 1000),
                 "barrier.cluster.arrive.release.aligned;",
                 "barrier.cluster.arrive.relaxed.aligned;"),
        seed);
    EXPECT_THAT(session.reportText(), HasSubstr("race")) << seed;
  }
}

TEST_F(RemoteAsync, StoresNeedNoProxyFence) {
  // st.async over what ordinary stores wrote, without fence.proxy.async: each
  // thread to its own word.
  std::string body = replaced(
      combined("add.u32", 1000),
      "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes."
      "add.u32 [%r7], %r9, [%r8];",
      "mapa.shared::cluster.u32 %r12, %r5, 1;\n@%p4 st.async.weak.shared::"
      "cluster.mbarrier::complete_tx::bytes.b32 [%r12], %r9, [%r8];");
  body = replaced(body, "mad.lo.u32 %r9,",
                  "setp.eq.u32 %p4, %r2, 0;\n"
                  "mad.lo.u32 %r9,");
  body = replaced(body, "[full], 512", "[full], 256");
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    ASSERT_EQ(run(body, seed), status::Success) << session.reportText();
    auto got = session.read<uint32_t>(out, 64);
    for (uint32_t i = 0; i < 64; ++i)
      ASSERT_EQ(got[i], i);
  }
}

TEST_F(RemoteAsync, RefusesWhatDoesNotExist) {
  auto refusal = [&](const std::string &text, const char *target = "sm_90a") {
    EXPECT_FALSE(session.load(ptxSnippet(text, "", target))) << text;
    return session.reportText();
  };
  const std::string red =
      "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.";
  for (const char *op :
       {"add.f32 [%r1], %f1, [%r2];", "min.u64 [%r1], %rd2, [%r2];",
        "xor.u32 [%r1], %r3, [%r2];", "inc.s32 [%r1], %r3, [%r2];"})
    EXPECT_THAT(refusal(red + op), HasSubstr("this reduction does not exist"));
  EXPECT_THAT(refusal("red.async.relaxed.gpu.global.add.u32 [%rd1], %r3;"),
              HasSubstr("red.async.relaxed.cluster is expected"));
  EXPECT_THAT(refusal("st.async.weak.global.u32 [%rd1], %r3;"),
              HasSubstr("global memory are not supported"));
  EXPECT_THAT(refusal(red + "add.u32 [%r1], %r3, [%r2];", "sm_80"),
              HasSubstr("sm_90"));
  EXPECT_THAT(refusal("st.async.weak.shared::cluster.mbarrier::complete_tx::"
                      "bytes.v4.b64 [%r1], {%rd1,%rd2,%rd3,%rd4}, [%r2];"),
              HasSubstr("at most 16 bytes"));
}

} // namespace
