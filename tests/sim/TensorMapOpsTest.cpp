//===- TensorMapOpsTest.cpp - Tensor maps made on the device --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

constexpr uint32_t pitchWords = 16, rows = 6, columns = 10;

// "in" holds a map of something else and then the address of the data. The
// warp brings the map to shared memory, thread 0 makes it one of 10 x 6 words
// in boxes of 8 x 4, all publish it at "out", and thread 0 loads the box at (4,
// 3), of which 6 x 3 words are inside.
const char *const remake = R"(
    shl.b32 %r3, %r0, 2;
    mov.u32 %r2, tmap;
    add.u32 %r4, %r2, %r3;
    cvt.u64.u32 %rd2, %r3;
    add.s64 %rd3, %rd0, %rd2;
    ld.global.u32 %r5, [%rd3];
    st.shared.u32 [%r4], %r5;
    bar.warp.sync -1;
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra PUBLISH;
    ld.global.u64 %rd5, [%rd0+128];
    tensormap.replace.tile.global_address.shared::cta.b1024.b64 [tmap], %rd5;
    tensormap.replace.tile.rank.shared::cta.b1024.b32 [tmap], 1;
    tensormap.replace.tile.elemtype.shared::cta.b1024.b32 [tmap], 2;
    tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [tmap], 0, 10;
    tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [tmap], 1, 6;
    tensormap.replace.tile.global_stride.shared::cta.b1024.b64 [tmap], 0, 64;
    tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [tmap], 0, 8;
    tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [tmap], 1, 4;
    tensormap.replace.tile.element_stride.shared::cta.b1024.b32 [tmap], 1, 1;
    tensormap.replace.tile.interleave_layout.shared::cta.b1024.b32 [tmap], 0;
    tensormap.replace.tile.swizzle_mode.shared::cta.b1024.b32 [tmap], 0;
    tensormap.replace.tile.fill_mode.shared::cta.b1024.b32 [tmap], 0;
    mbarrier.init.shared::cta.b64 [full], 1;
    fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [full], 128;
PUBLISH:
    bar.warp.sync -1;
    tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%rd1], [%r2], 128;
    fence.proxy.tensormap::generic.acquire.gpu [%rd1], 128;
    @%p0 bra LOADED;
    mov.u32 %r6, 4;
    mov.u32 %r7, 3;
    cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [%rd1, {%r6, %r7}], [full];
LOADED:
    bar.sync 0;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [full], 0;
    @!%p1 bra WAIT;
    mov.u32 %r8, tile;
    add.u32 %r8, %r8, %r3;
    ld.shared.u32 %r9, [%r8];
    add.s64 %rd4, %rd1, %rd2;
    st.global.u32 [%rd4+128], %r9;)";

class TensorMapOps : public testing::Test {
protected:
  TensorMapOps() : session(sim::SimTarget::Sm90a) {}

  cuda::DriverStatus run(const std::string &body, uint64_t seed = 1) {
    EXPECT_TRUE(session.load(ptxSnippet(body,
                                        ".shared .align 128 .b8 tile[128];\n"
                                        ".shared .align 128 .b8 tmap[128];\n"
                                        ".shared .align 8 .b64 full;\n",
                                        "sm_90a")))
        << session.reportText();
    std::vector<uint32_t> words(pitchWords * rows);
    for (uint32_t i = 0; i < words.size(); ++i)
      words[i] = 1000 + i;
    cuda::DevicePtr data = session.buffer("data", words, true);
    cuda::TensorMapStorage map = {};
    uint64_t size[] = {64};
    unsigned box[] = {64}, steps[] = {1};
    EXPECT_EQ(session.driver.tensorMapEncodeTiled(
                  &map, 0, 1, reinterpret_cast<void *>(data), size, nullptr,
                  box, steps, 0, 0, 0, 0),
              status::Success);
    std::vector<uint64_t> given(17);
    std::memcpy(given.data(), &map, 128);
    given[16] = data;
    auto in = session.buffer("in", given, true);
    out = session.buffer("out", std::vector<uint32_t>(64, 0));
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 2 ? 64 : 3;
    options.watchdog = 1 << 20;
    session.setOptions(options);
    return session.launch("test", {}, in, out, 64u);
  }
  void expectFault(const std::string &body, const char *text) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      run(body, seed);
      EXPECT_THAT(session.reportText(), HasSubstr(text)) << seed;
    }
  }
  Session session;
  cuda::DevicePtr out = 0;
};

TEST_F(TensorMapOps, EveryFieldIsReplaced) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    ASSERT_EQ(run(remake, seed), status::Success) << session.reportText();
    auto got = session.read<uint32_t>(out, 64);
    for (uint32_t i = 0; i < 32; ++i) {
      uint32_t column = 4 + i % 8, row = 3 + i / 8;
      bool inside = column < columns && row < rows;
      ASSERT_EQ(got[32 + i], inside ? 1000 + row * pitchWords + column : 0u)
          << i;
    }
  }
}

TEST_F(TensorMapOps, InGlobalMemory) {
  // Published first, and then the row is moved by replacing in place.
  std::string body = replaced(
      remake, "    fence.proxy.tensormap::generic.acquire.gpu",
      "    @%p0 bra KEEP;\n"
      "    add.s64 %rd5, %rd5, 64;\n"
      "    tensormap.replace.tile.global_address.global.b1024.b64 [%rd1], "
      "%rd5;\n"
      "    fence.proxy.tensormap::generic.release.gpu;\n"
      "KEEP:\n    bar.warp.sync -1;\n"
      "    fence.proxy.tensormap::generic.acquire.gpu");
  body = replaced(body, "global_dim.shared::cta.b1024.b32 [tmap], 1, 6",
                  "global_dim.shared::cta.b1024.b32 [tmap], 1, 5");
  ASSERT_EQ(run(body), status::Success) << session.reportText();
  EXPECT_EQ(session.read<uint32_t>(out, 64)[32], 1000 + 4 * pitchWords + 4);
  // The release is of what came before it.
  expectFault(replaced(body, "fence.proxy.tensormap::generic.release.gpu;", ""),
              "no fence.proxy.tensormap::generic.release");
}

TEST_F(TensorMapOps, MissingFences) {
  expectFault(replaced(remake,
                       "fence.proxy.tensormap::generic.acquire.gpu [%rd1], "
                       "128;",
                       ""),
              "missing proxy fence: the tensor map at offset 0 of out was "
              "written in this launch");
  // Of another address.
  expectFault(replaced(remake, "acquire.gpu [%rd1]", "acquire.gpu [%rd0]"),
              "missing proxy fence: the tensor map at offset 0 of out");
  // Written again after the fence.
  expectFault(replaced(remake, "mov.u32 %r7, 3;",
                       "mov.u32 %r7, 3;\ntensormap.replace.tile.fill_mode."
                       "global.b1024.b32 [%rd1], 0;"),
              "missing proxy fence");
  // An ordinary copy releases nothing.
  std::string plain = replaced(
      remake,
      "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release."
      "gpu.sync.aligned [%rd1], [%r2], 128;",
      "ld.shared.u32 %r10, [%r4];\nadd.s64 %rd6, %rd1, %rd2;\n"
      "st.global.u32 [%rd6], %r10;\nbar.warp.sync -1;");
  expectFault(plain, "no fence.proxy.tensormap::generic.release");
  EXPECT_EQ(run(replaced(plain, "    fence.proxy.tensormap::generic.acquire",
                         "fence.proxy.tensormap::generic.release.gpu;\n"
                         "    fence.proxy.tensormap::generic.acquire")),
            status::Success)
      << session.reportText();
}

TEST_F(TensorMapOps, ValuesThatNoMapMayHave) {
  expectFault(replaced(remake, "rank.shared::cta.b1024.b32 [tmap], 1",
                       "rank.shared::cta.b1024.b32 [tmap], 5"),
              "rank field 5");
  expectFault(replaced(remake, "[tmap], 0, 64;", "[tmap], 0, 40;"),
              "stride 40 of dimension 1");
  expectFault(replaced(remake, "[tmap], 0, 64;", "[tmap], 4, 64;"),
              "there is no ordinal 4");
  expectFault(replaced(remake, "[tmap], 0, 10;", "[tmap], 0, 0;"), "size 0");
  expectFault(replaced(remake, "elemtype.shared::cta.b1024.b32 [tmap], 2",
                       "elemtype.shared::cta.b1024.b32 [tmap], 14"),
              "packed elements are not simulated");
  // What only the copy can tell.
  expectFault(replaced(remake, "[tmap], 0, 8;", "[tmap], 0, 6;"),
              "the box is 24 bytes wide");
  expectFault(replaced(remake, "swizzle_mode.shared::cta.b1024.b32 [tmap], 0",
                       "swizzle_mode.shared::cta.b1024.b32 [tmap], 3"),
              "narrower");
  expectFault(replaced(remake, "fill_mode.shared::cta.b1024.b32 [tmap], 0",
                       "fill_mode.shared::cta.b1024.b32 [tmap], 1"),
              "NaN as fill");
  expectFault(replaced(remake, "[tmap], %rd5", "[tile], %rd5"),
              "uninitialised shared memory");
}

TEST_F(TensorMapOps, RefusesOtherForms) {
  auto refusal = [&](const std::string &text, const char *target = "sm_90a") {
    EXPECT_FALSE(session.load(ptxSnippet(text, "", target))) << text;
    return session.reportText();
  };
  EXPECT_THAT(refusal("tensormap.replace.tile.rank.global.b1024.b32 [%rd1], 1;",
                      "sm_90"),
              HasSubstr("tensormap.replace"));
  EXPECT_THAT(
      refusal("tensormap.replace.tile.rank.global.b1024.b64 [%rd1], 1;"),
      HasSubstr("the field takes a .b32"));
  EXPECT_THAT(
      refusal("tensormap.replace.im2col.rank.global.b1024.b32 [%rd1], 1;"),
      HasSubstr("tensormap.replace.tile"));
  EXPECT_THAT(refusal("fence.proxy.tensormap::generic.acquire.gpu [%rd1], 64;"),
              HasSubstr("128 bytes"));
  EXPECT_THAT(refusal("fence.proxy.tensormap::generic.gpu;"),
              HasSubstr(".release.<scope>"));
}

} // namespace
