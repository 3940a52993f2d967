//===- PtxSnippet.h - Small kernels written as PTX --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Wraps a few instructions into a kernel `test(u64 in, u64 out, u32 n)` with
// registers declared: %r, %f, %rd, %h (16 bits), %d (f64), %p. At the start %r0
// is the thread index, %rd0 and %rd1 are `in` and `out` as global addresses,
// %r1 is n.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_SIM_PTXSNIPPET_H
#define QUERN_TESTS_SIM_PTXSNIPPET_H

#include <string>

namespace quern::simtest {

inline std::string ptxSnippet(const std::string &body,
                              const std::string &moduleText = "",
                              const std::string &target = "sm_80") {
  return ".version 8.7\n.target " + target + "\n.address_size 64\n" +
         moduleText +
         "\n.visible .entry test(.param .u64 in, .param .u64 out, "
         ".param .u32 n)\n{\n"
         ".reg .pred %p<16>;\n.reg .b16 %h<32>;\n.reg .b32 %r<64>;\n"
         ".reg .f32 %f<32>;\n.reg .b64 %rd<32>;\n.reg .f64 %d<16>;\n"
         "ld.param.u64 %rd0, [in];\nld.param.u64 %rd1, [out];\n"
         "ld.param.u32 %r1, [n];\ncvta.to.global.u64 %rd0, %rd0;\n"
         "cvta.to.global.u64 %rd1, %rd1;\nmov.u32 %r0, %tid.x;\n" +
         body + "\nret;\n}\n";
}

} // namespace quern::simtest

#endif // QUERN_TESTS_SIM_PTXSNIPPET_H
